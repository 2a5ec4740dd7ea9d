//go:build synctests

package simulation

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/summary"
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

	produced, failing, broken int             // orders: all, those that fail in the end, those that cannot be read
	cents                     int64           // what those that pass add up to
	retried                   map[string]bool // ids of those that fail at first

	mu      sync.Mutex
	live    []*instance
	dead    map[string]time.Time // client ids: when the group has to notice
	started int
	fenced  bool // an instance may be, and does not know it yet: there were two of one name
	nacks   float64
	nacking *rand.Rand
	ended   sync.WaitGroup // instances that are being stopped

	rebalancing time.Time // since when the group has been, as far as expel knows
}

func newWorld(t *testing.T, p *plan) *world {
	w := &world{
		t: t, plan: p, net: &kfake.VirtualNetwork{}, dead: map[string]time.Time{}, retried: map[string]bool{},
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
	// It is never compacted here: kfake does that once an hour, and when it does it takes what an
	// open transaction has written for the newest of a key (compact in data.go goes up to the last
	// batch, where a broker stops at the last stable offset). If that aborts, the key is gone.
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
	return []kgo.Opt{
		kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.DisableClientMetrics(), // compressing them took a third of the memory
	}
}

func (w *world) close() {
	w.client.Close()
	w.cluster.Close()
	// A client that was thrown away within a join goes on for a while before it ends, and a
	// bubble's clock stops with its first goroutine.
	time.Sleep(2 * time.Minute)
	_, _ = summary.Default.WriteTo(io.Discard) // it would keep everything that ever ran
}

// keys is how many keys the orders have, where some of them have to keep their order.
const keys = 30

// produce writes orders. Some of them fail for ever, or at first, some cannot be decoded. It
// returns how many of them have to wait before they get an outcome.
func (w *world) produce(n int) (slow int) {
	products := []string{"Laptop", "Book", "Pen", "Phone"}
	sim := order.Simulator{Rate: w.plan.failureRate, Mode: order.Mode(w.plan.failureMode), Seed: int64(w.plan.seed), Recover: 2}
	var records []*kgo.Record
	held := map[string]bool{} // keys whose later orders wait too
	for range n {
		id := fmt.Sprintf("order-%d", w.produced)
		w.produced++
		r := &kgo.Record{
			Topic: topicOrders, Partition: int32(w.orders.IntN(partitions)), Key: []byte(id),
			Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte(id)}, {Key: "trace", Value: nil}},
		}
		if w.plan.ordered {
			k := w.orders.IntN(keys)
			r.Key, r.Partition = fmt.Appendf(nil, "customer-%d", k), int32(k%partitions)
		}
		waits := held[string(r.Key)]
		if w.orders.Float64() < w.plan.brokenRate {
			r.Value = []byte("no order")
			w.broken++
		} else {
			cents := 1 + w.orders.IntN(99999)
			var err error
			r.Value, err = w.encoder.Append(nil, order.Order{ID: id, Product: products[w.orders.IntN(len(products))], Price: float64(cents) / 100})
			require.NoError(w.t, err)
			switch {
			case sim.Fails(id, 4):
				w.failing++
			default:
				w.cents += int64(cents)
			}
			w.retried[id] = sim.Fails(id, 1)
			waits = waits || w.retried[id]
		}
		if waits {
			slow++
			held[string(r.Key)] = w.plan.ordered
		}
		records = append(records, r)
	}
	require.NoError(w.t, w.client.ProduceSync(context.Background(), records...).FirstErr())
	return slow
}
