//go:build synctests

package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"gopkg.in/yaml.v3"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/summary"
	_ "github.com/orderflow/orderflow/plugins/all"
	"github.com/orderflow/orderflow/plugins/kafkatransactional"
)

const (
	group          = "orderflow"
	topicOrders    = "orders"
	topicProcessed = "orders-processed"
	topicDLQ       = "orders-dlq"
	topicState     = "orders-state"

	partitions     = 3
	sessionTimeout = 6 * time.Second
)

// world is a cluster, the orders in it, and the instances of the pipeline.
type world struct {
	t       *testing.T
	plan    *plan
	net     *kfake.VirtualNetwork
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	encoder *order.Encoder
	orders  *rand.Rand

	produced, failing, broken int // orders: all, those that fail in the end, those that cannot be read

	mu      sync.Mutex
	live    []*instance
	dead    map[string]time.Time // client ids: when the group has to notice
	started int
	nacks   float64
	nacking *rand.Rand
	ended   sync.WaitGroup // instances that are being stopped

	rebalancing time.Time // since when the group has been, as far as expel knows
}

func newWorld(t *testing.T, p *plan) *world {
	w := &world{
		t: t, plan: p, net: &kfake.VirtualNetwork{}, dead: map[string]time.Time{},
		orders: rand.New(rand.NewPCG(p.seed, 2)), nacking: rand.New(rand.NewPCG(p.seed, 3)),
	}
	schema, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	w.encoder, err = order.NewEncoder(schema)
	require.NoError(t, err)
	opts := []kfake.Opt{kfake.Ports([]int{9001, 9002, 9003}[:p.brokers]...), kfake.ListenFn(w.net.Listen), kfake.GroupMinSessionTimeout(time.Second)}
	if p.oldTransactions {
		opts = append(opts, kfake.MaxVersions(kversion.V3_9_0()))
	}
	w.cluster, err = kfake.NewCluster(opts...)
	require.NoError(t, err)
	w.cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), w.nothingIsTruncated)
	w.client, err = kgo.NewClient(append(w.opts(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite())...)
	require.NoError(t, err)
	w.admin = kadm.NewClient(w.client)
	w.createTopic(topicOrders, nil)
	w.createTopic(topicProcessed, nil)
	compact := "compact"
	w.createTopic(topicState, map[string]*string{"cleanup.policy": &compact})
	if !p.lateDLQ {
		w.createTopic(topicDLQ, nil)
	}
	return w
}

// nothingIsTruncated answers where the log of an old leader epoch ends: not here. kfake would say
// that it does not know the epoch if nothing was written since its successor began
// (23_offset_for_leader_epoch.go looks for a batch of a later epoch, where a broker has noted
// the beginning of each), and the client would take that for a loss of data and begin anew.
func (w *world) nothingIsTruncated(kreq kmsg.Request) (kmsg.Response, error, bool) {
	w.cluster.KeepControl()
	req := kreq.(*kmsg.OffsetForLeaderEpochRequest)
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			partition := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			partition.Partition, partition.LeaderEpoch, partition.EndOffset = p.Partition, p.LeaderEpoch, math.MaxInt64
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp, nil, true
}

func (w *world) createTopic(topic string, config map[string]*string) {
	_, err := w.admin.CreateTopic(context.Background(), partitions, 1, config, topic)
	require.NoError(w.t, err)
}

// opts are how the world itself connects: nothing breaks there.
func (w *world) opts() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.MetadataMinAge(100 * time.Millisecond)}
}

func (w *world) close() {
	w.client.Close()
	w.cluster.Close()
	// A client that was thrown away within a join goes on for a while before it ends, and a
	// bubble's clock stops with its first goroutine.
	time.Sleep(2 * time.Minute)
	_, _ = summary.Default.WriteTo(io.Discard) // it would keep everything that ever ran
}

// produce writes orders. Some of them fail for ever, some cannot be decoded.
func (w *world) produce(n int) {
	products := []string{"Laptop", "Book", "Pen", "Phone"}
	sim := order.Simulator{Rate: w.plan.failureRate, Mode: order.Mode(w.plan.failureMode), Seed: int64(w.plan.seed), Recover: 2}
	var records []*kgo.Record
	for range n {
		id := fmt.Sprintf("order-%d", w.produced)
		w.produced++
		r := &kgo.Record{
			Topic: topicOrders, Partition: int32(w.orders.IntN(partitions)), Key: []byte(id),
			Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte(id)}, {Key: "trace", Value: nil}},
		}
		if w.orders.Float64() < w.plan.brokenRate {
			r.Value = []byte("no order")
			w.broken++
		} else {
			var err error
			r.Value, err = w.encoder.Append(nil, order.Order{ID: id, Product: products[w.orders.IntN(len(products))], Price: float64(1+w.orders.IntN(99999)) / 100})
			require.NoError(w.t, err)
			if sim.Fails(id, 4) {
				w.failing++
			}
		}
		records = append(records, r)
	}
	require.NoError(w.t, w.client.ProduceSync(context.Background(), records...).FirstErr())
}

// instance is one process that runs the pipeline.
type instance struct {
	slot   int // what its instance id is made of
	id     string
	net    *network
	stream *service.Stream
	done   chan error
}

var variable = regexp.MustCompile(`\$\{([A-Z_]+):([^}]*)\}`)

var pipeline = sync.OnceValue(func() string {
	text, err := os.ReadFile("../../config/pipelines/consumer.yaml")
	if err != nil {
		panic(err)
	}
	return string(text)
})

// config is the consumer's pipeline for one instance, without its HTTP server and its logs.
func (w *world) config(slot int) string {
	values := map[string]string{
		"KAFKA_BROKERS":   strings.Join(w.cluster.ListenAddrs(), ","),
		"COMMIT_INTERVAL": w.plan.commitInterval.String(),
		"SESSION_TIMEOUT": sessionTimeout.String(),
		"FAILURE_RATE":    fmt.Sprint(w.plan.failureRate),
		"FAILURE_MODE":    w.plan.failureMode,
		"FAILURE_SEED":    fmt.Sprint(w.plan.seed),
	}
	if slot < w.plan.static {
		values["INSTANCE_ID"] = fmt.Sprintf("consumer-%d", slot)
	}
	text := variable.ReplaceAllStringFunc(pipeline(), func(v string) string {
		m := variable.FindStringSubmatch(v)
		if value, ok := values[m[1]]; ok {
			return value
		}
		return m[2]
	})
	var c map[string]any
	require.NoError(w.t, yaml.Unmarshal([]byte(text), &c))
	c["http"] = map[string]any{"enabled": false}
	delete(c, "logger")
	c["metrics"] = map[string]any{"none": map[string]any{}}
	if w.plan.nacks {
		c["output"] = map[string]any{"moody": map[string]any{"output": c["output"]}}
	}
	if w.plan.away != nil {
		w.plan.away.insert(c)
	}
	out, err := yaml.Marshal(c)
	require.NoError(w.t, err)
	return string(out)
}

// start starts an instance.
func (w *world) start(slot int) *instance {
	w.mu.Lock()
	w.started++
	i := &instance{slot: slot, id: fmt.Sprintf("instance-%d", w.started), net: newNetwork(w.net), done: make(chan error, 1)}
	w.mu.Unlock()
	env := service.NewEnvironment()
	require.NoError(w.t, kafkatransactional.Register(env, kgo.Dialer(i.net.dial), kgo.ClientID(i.id)))
	if w.plan.nacks {
		require.NoError(w.t, env.RegisterBatchOutput("moody", service.NewConfigSpec().Field(service.NewOutputField("output")), w.newMoody))
	}
	if w.plan.away != nil {
		require.NoError(w.t, w.plan.away.register(env))
	}
	b := env.NewStreamBuilder()
	b.SetLogger(slog.New(slog.NewTextHandler(w.plan.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("instance", i.id))
	if w.plan.log == io.Discard {
		b.SetLogger(slog.New(slog.DiscardHandler))
	}
	require.NoError(w.t, b.SetYAML(w.config(slot)))
	var err error
	i.stream, err = b.Build()
	require.NoError(w.t, err)
	go func() { i.done <- i.stream.Run(context.Background()) }()
	w.mu.Lock()
	w.live = append(w.live, i)
	w.mu.Unlock()
	return i
}

// moody is an output around another one that now and then takes nothing, or says so when the
// other one has taken all.
type moody struct {
	w     *world
	inner *service.OwnedOutput
}

func (w *world) newMoody(pc *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
	inner, err := pc.FieldOutput("output")
	if err == nil {
		err = inner.Prime()
	}
	return moody{w, inner}, service.BatchPolicy{}, 64, err
}

var errMood = errors.New("not this time")

func (moody) Connect(context.Context) error { return nil }

func (m moody) WriteBatch(ctx context.Context, msgs service.MessageBatch) error {
	if m.w.nack() {
		return errMood
	}
	if err := m.inner.WriteBatch(ctx, msgs); err != nil {
		return err
	}
	if m.w.nack() {
		return errMood
	}
	return nil
}

func (m moody) Close(ctx context.Context) error { return m.inner.Close(ctx) }

func (w *world) nack() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nacks > 0 && w.nacking.Float64() < w.nacks
}

// bury takes an instance from the list of the living. It is false if it was not in it.
func (w *world) bury(i *instance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.live)
	w.live = slices.DeleteFunc(w.live, func(l *instance) bool { return l == i })
	if len(w.live) == n {
		return false
	}
	w.dead[i.id] = time.Now().Add(sessionTimeout)
	w.ended.Add(1)
	return true
}

// stop stops an instance as SIGTERM does.
func (w *world) stop(i *instance) {
	if w.bury(i) {
		go w.end(i)
	}
}

// crash takes an instance off the network for ever. What it still does reaches nobody.
func (w *world) crash(i *instance) {
	i.net.kill()
	if w.bury(i) {
		go w.end(i)
	}
}

func (w *world) end(i *instance) {
	defer w.ended.Done()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := i.stream.Stop(ctx)
		cancel()
		if err == nil || err.Error() != "stream has not been run yet" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case <-i.done:
	case <-time.After(stopping):
		w.stuck(i)
	}
}

// stopping bounds the time that a stop takes, beyond the minute after which the host gives up.
const stopping = 2 * time.Minute

// stuck ends the process, since a bubble with an instance that does not end cannot end either.
func (w *world) stuck(i *instance) {
	stacks := make([]byte, 1<<24)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var found []string
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "/orderflow/plugins/") || strings.Contains(stack, "GroupTransactSession") {
			found = append(found, stack)
		}
	}
	fmt.Printf("played %q\n", fmt.Sprintf("%s has not stopped in %v:\n%s", i.id, stopping, strings.Join(found, "\n\n")))
	os.Exit(1)
}

// pick returns a live instance.
func (w *world) pick(n int) *instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.live) == 0 {
		return nil
	}
	return w.live[n%len(w.live)]
}

// expel removes the members of dead instances from the group once their session has ended. A
// broker does so by itself. kfake does too, but not always for members that died within a join:
// those can hold the group for as long as a rebalance may take.
//
// It also ends rebalances that last longer than any may. kfake counts the members that have
// joined, and one that is removed while it waits in a sync counts as one that had joined
// (removeMember in groups.go): from then on the count is short by one, so that a join waits for
// its deadline; and that starts anew with each member whose session ends while it waits. When
// nobody is left kfake begins to count anew.
func (w *world) expel() {
	w.mu.Lock()
	late := map[string]bool{}
	for id, at := range w.dead {
		late[id] = time.Now().After(at)
	}
	w.mu.Unlock()
	groups, err := w.admin.DescribeGroups(context.Background(), group)
	if err != nil {
		return // a fault; there is a next time
	}
	if groups[group].State != "PreparingRebalance" {
		w.rebalancing = time.Time{}
	} else if w.rebalancing.IsZero() {
		w.rebalancing = time.Now()
	}
	stalled := !w.rebalancing.IsZero() && time.Since(w.rebalancing) > 45*time.Second
	if stalled {
		w.rebalancing = time.Time{}
	}
	for _, m := range groups[group].Members {
		if !late[m.ClientID] && !stalled {
			continue
		}
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = group
		member := kmsg.NewLeaveGroupRequestMember()
		member.MemberID, member.InstanceID = m.MemberID, m.InstanceID
		req.Members = append(req.Members, member)
		_, _ = req.RequestWith(context.Background(), w.client)
	}
}
