package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/test/link"
)

const partitions = 3

// world is a broker with the topics of a pipeline, in virtual time.
type world struct {
	t       *testing.T
	net     *kfake.VirtualNetwork
	cluster *kfake.Cluster
	cl      *kgo.Client
	mu      sync.Mutex
	rnd     *rand.Rand // decides which messages are rejected, if any
	nacks   float64
	gauges  gauges
	live    []*running
	started int
	busy    time.Duration // how long outputs take from now on
	each    time.Duration // and how long for each message
	written atomic.Int64  // messages that came to an output
	log     journal
}

func newWorld(t *testing.T) *world { return newWorldOf(t, 1) }

func newWorldOf(t *testing.T, brokers int) *world {
	w := &world{t: t, net: &kfake.VirtualNetwork{}}
	var err error
	w.cluster, err = kfake.NewCluster(kfake.Ports([]int{9001, 9002}[:brokers]...), kfake.ListenFn(w.net.Listen), kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	w.cl, err = kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	adm := kadm.NewClient(w.cl)
	compact := "compact"
	for topic, config := range map[string]map[string]*string{
		"orders": nil, "processed": nil, "dlq": nil, "state": {"cleanup.policy": &compact},
	} {
		_, err := adm.CreateTopic(t.Context(), partitions, 1, config, topic)
		require.NoError(t, err)
	}
	return w
}

// environment makes the plugins of one instance.
func (w *world) environment(n *link.Link) *service.Environment {
	env := service.NewEnvironment()
	require.NoError(w.t, Register(env, kgo.Dialer(n.Dial)))
	require.NoError(w.t, env.RegisterMetricsExporter("gauges", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) {
		return &w.gauges, nil
	}))
	require.NoError(w.t, env.RegisterProcessor("flaky", service.NewConfigSpec().Field(service.NewIntField("failures").Default(1)).Field(service.NewDurationField("wait").Default("1s")),
		func(pc *service.ParsedConfig, _ *service.Resources) (service.Processor, error) {
			n, _ := pc.FieldInt("failures")
			d, _ := pc.FieldDuration("wait")
			return &flaky{failures: n, wait: d}, nil
		}))
	require.NoError(w.t, env.RegisterBatchOutput("picky", service.NewConfigSpec().Field(service.NewOutputField("output")), func(pc *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		child, err := pc.FieldOutput("output")
		return &picky{child, func() error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.rnd != nil && w.rnd.Float64() < w.nacks {
				return errors.New("not this time")
			}
			return nil
		}, func(messages int) {
			w.written.Add(int64(messages))
			w.mu.Lock()
			d := w.busy + time.Duration(messages)*w.each
			if w.rnd != nil {
				d = time.Duration(w.rnd.IntN(300)) * time.Millisecond
			}
			w.mu.Unlock()
			time.Sleep(d) // virtual
		}}, service.BatchPolicy{}, 8, err
	}))
	return env
}

// picky rejects batches before its child has written them, or after.
type picky struct {
	child  *service.OwnedOutput
	reject func() error
	delay  func(messages int) // so that orders are in flight when a transaction is due
}

func (p *picky) Connect(context.Context) error { return p.child.Prime() }

func (p *picky) WriteBatch(ctx context.Context, b service.MessageBatch) error {
	p.delay(len(b))
	for range b {
		if err := p.reject(); err != nil {
			return err
		}
	}
	if err := p.child.WriteBatch(ctx, b); err != nil {
		return err
	}
	return p.reject()
}

func (p *picky) Close(ctx context.Context) error { return p.child.Close(ctx) }

// slow makes each write of an output that begins from now on take so long.
func (w *world) slow(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = d
}

// slowEach makes outputs take so long for each message.
func (w *world) slowEach(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.each = d
}

// reject makes outputs reject a share of the messages.
func (w *world) reject(share float64, seed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rnd, w.nacks = rand.New(rand.NewPCG(seed, 2)), share
}

func (w *world) close() {
	w.cl.Close()
	w.cluster.Close()
}

const pipeline = `
http: {enabled: false}
input:
  kafka_transactional:
    seed_brokers: [%s]
    topics: [orders]
    consumer_group: g
    state_topic: state
    session_timeout: 6s
    client_id: %s
    %s
pipeline:
  threads: 2
  processors:
    - flaky: {failures: %d, wait: 1s}
output:
  picky:
    output:
      kafka_transactional:
        topic: processed
        headers:
          origin: ${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }
`

type running struct {
	id     string
	link   *link.Link
	stream *service.Stream
	done   chan error
}

func (w *world) start(failures int, fields string) *running {
	return w.run(func(id string) string {
		return fmt.Sprintf(pipeline, strings.Join(w.cluster.ListenAddrs(), ","), id, fields, failures)
	})
}

// run starts an instance with the pipeline that yaml makes for its client id.
func (w *world) run(yaml func(id string) string) *running {
	w.started++
	id := fmt.Sprintf("instance-%d", w.started)
	n := link.New(w.net)
	b := w.environment(n).NewStreamBuilder()
	b.SetLogger(slog.New(slog.NewTextHandler(&w.log, nil)))
	require.NoError(w.t, b.SetYAML(yaml(id)))
	require.NoError(w.t, b.SetMetricsYAML("gauges: {}"))
	s, err := b.Build()
	require.NoError(w.t, err)
	r := &running{id: id, link: n, stream: s, done: make(chan error, 1)}
	go func() { r.done <- s.Run(context.Background()) }()
	w.live = append(w.live, r)
	return r
}

// journal keeps what was logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	if testing.Verbose() {
		os.Stderr.Write(p)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (w *world) stop(r *running) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := r.stream.Stop(ctx); err != nil {
		w.t.Logf("stopping: %v", err)
	}
	<-r.done
	w.live = slices.DeleteFunc(w.live, func(l *running) bool { return l == r })
}

// produce writes n orders, every tenth of them bad.
func (w *world) produce(from, n int) {
	var recs []*kgo.Record
	for i := from; i < from+n; i++ {
		kind := "good"
		if i%10 == 0 {
			kind = "bad"
		}
		recs = append(recs, &kgo.Record{Topic: "orders", Partition: int32(i % partitions), Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "%s-%d", kind, i)})
	}
	require.NoError(w.t, w.cl.ProduceSync(w.t.Context(), recs...).FirstErr())
}

// committed reads all that a committed reader sees of a topic, by origin.
func (w *world) committed(topic string) map[string]int {
	seen := map[string]int{}
	for _, rec := range w.records(topic) {
		for _, h := range rec.Headers {
			if h.Key == "origin" {
				seen[string(h.Value)]++
			}
		}
	}
	return seen
}

// records are those of a topic that are committed now.
func (w *world) records(topic string) []*kgo.Record {
	ranges, err := committed.Stable(w.t.Context(), kadm.NewClient(w.cl), topic)
	require.NoError(w.t, err)
	var recs []*kgo.Record
	opts := []kgo.Opt{kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext)}
	_, err = committed.Read(w.t.Context(), opts, topic, ranges, func(rec *kgo.Record) error {
		recs = append(recs, rec)
		return nil
	})
	require.NoError(w.t, err)
	return recs
}

// total is what the aggregates in the state topic hold.
func (w *world) total() int64 {
	var sum int64
	latest := map[string]string{}
	for _, rec := range w.records("state") {
		latest[string(rec.Key)] = string(rec.Value)
	}
	for key, value := range latest {
		if k, err := ParseStateKey([]byte(key)); err == nil && k.Kind == KindAggregate {
			var c counter
			require.NoError(w.t, c.UnmarshalBinary([]byte(value)))
			sum += c.n
		}
	}
	return sum
}

// once asserts that each of n orders has exactly one processed record and is counted once.
func (w *world) once(n int) {
	w.t.Helper()
	seen := w.committed("processed")
	for origin, times := range seen {
		require.Equal(w.t, 1, times, "order at %s", origin)
	}
	require.Equal(w.t, n, len(seen), "orders processed")
	require.Equal(w.t, int64(n), w.total())
}

func TestOrdersPassExactlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 1000)
		r := w.start(2, "")
		time.Sleep(10 * time.Second) // virtual: two retries of a second each, and commits
		w.stop(r)
		w.once(1000)
	})
}
