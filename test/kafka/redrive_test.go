package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/test/child"
)

const negative = "price_not_positive"

// letters writes n dead letters of three causes in turn, numbered from first on.
func (r *run) letters(first, n int) {
	schema, err := order.ParseSchema(schemas.Order)
	require.NoError(r.t, err)
	enc, err := order.NewEncoder(schema)
	require.NoError(r.t, err)
	var recs []*kgo.Record
	for i := first; i < first+n; i++ {
		id := fmt.Sprintf("o-%d", i)
		value, err := enc.Append(nil, order.Order{ID: id, Product: "Pen", Price: -2.5})
		require.NoError(r.t, err)
		recs = append(recs, &kgo.Record{Topic: "orders-dlq", Key: []byte(id), Value: value, Headers: []kgo.RecordHeader{
			{Key: "dlq_id", Value: fmt.Appendf(nil, "orders/0/%d", i)}, {Key: "dlq_topic", Value: []byte("orders")},
			{Key: "dlq_code", Value: []byte([]string{negative, "simulated_failure", "decode_failed"}[i%3])},
		}})
	}
	cl := r.cluster.Client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	require.NoError(r.t, cl.ProduceSync(context.Background(), recs...).FirstErr())
}

// redrive starts a redrive of the first cause.
func (r *run) redrive(rate int) *child.Process {
	return child.Start(r.t, child.Command{Name: "redrive", Path: child.Orderflow(r.t), Dir: child.Root(r.t), Env: []string{"KAFKA_BROKERS=" + r.env["KAFKA_BROKERS"]},
		Args: []string{"dlq", "redrive", "--rate", fmt.Sprint(rate), "--where", `@dlq_code == "` + negative + `"`, "--map", "root.price = this.price.abs()"}})
}

// committed reads all that a reader of committed records finds in a topic.
func (r *run) committed(topic string) []*kgo.Record {
	ctx, cancel := context.WithTimeout(context.Background(), child.Patience)
	defer cancel()
	opts := []kgo.Opt{kgo.SeedBrokers(r.cluster.Addresses()...)}
	ranges, err := committed.All(ctx, kadm.NewClient(r.cluster.Client()), topic)
	require.NoError(r.t, err)
	var recs []*kgo.Record
	_, err = committed.Read(ctx, opts, topic, ranges, func(rec *kgo.Record) error {
		recs = append(recs, rec)
		return nil
	})
	require.NoError(r.t, err)
	return recs
}

// end is how far the orders topic has grown.
func (r *run) end(adm *kadm.Client) int64 {
	ends, err := adm.ListEndOffsets(context.Background(), "orders")
	require.NoError(r.t, err)
	var sum int64
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	return sum
}

// awaitRedriven waits until the orders topic has grown by so much.
func (r *run) awaitRedriven(p *child.Process, n int64) {
	adm := kadm.NewClient(r.cluster.Client())
	begun := r.end(adm)
	require.Eventually(r.t, func() bool {
		select {
		case <-p.Done():
			return true
		default:
		}
		return r.end(adm) >= begun+n
	}, child.Patience, 20*time.Millisecond)
}

// redrivenOnce asserts that the first of the three causes of n letters was sent, each order once,
// and that its letters alone are marked.
func (r *run) redrivenOnce(n int) {
	marks := map[redrive.Place]bool{}
	for _, rec := range r.committed("orders-dlq-redrives") {
		if p, _, ok, err := redrive.ParseMark(rec.Key, rec.Value); ok {
			require.NoError(r.t, err)
			require.False(r.t, marks[p], "%s is marked twice", p)
			marks[p] = true
		}
	}
	open := map[string]bool{}
	for _, l := range r.committed("orders-dlq") {
		chosen := string(l.Headers[2].Value) == negative
		require.Equal(r.t, chosen, marks[redrive.Place{Topic: l.Topic, Partition: l.Partition, Offset: l.Offset}])
		open[string(l.Key)] = chosen
	}
	require.Len(r.t, open, n)
	sent := r.committed("orders")
	for _, rec := range sent {
		require.True(r.t, open[string(rec.Key)], "%s is sent twice, or should not be", rec.Key)
		open[string(rec.Key)] = false
	}
	require.Len(r.t, sent, (n+2)/3)
}

// Kills, an outage of the broker and a second redrive: each order is sent once.
func TestARedriveIsKilledLosesItsBrokerAndIsTakenOver(t *testing.T) {
	r := newRun(t, 1)
	r.letters(0, 10_000)
	for range 4 {
		p := r.redrive(1500)
		r.awaitRedriven(p, 300)
		p.Kill()
	}

	p := r.redrive(400)
	r.awaitRedriven(p, 300)
	r.cluster.Kill(0)
	time.Sleep(3 * time.Second) // an outage
	r.cluster.Start(0)
	require.NoError(t, p.Wait(child.Patience), p.Log())
	t.Logf("after four kills, and through an outage:\n%s", p.Log())
	r.redrivenOnce(10_000)

	r.letters(10_000, 2000)
	first := r.redrive(100)
	r.awaitRedriven(first, 50)
	second := r.redrive(0)
	require.NoError(t, second.Wait(child.Patience), second.Log())
	require.Error(t, first.Wait(child.Patience))
	require.Contains(t, first.Log(), "another redrive of orders-dlq has taken over")
	r.redrivenOnce(12_000)

	var runs []redrive.Run
	require.NoError(t, json.Unmarshal(r.command("dlq", "runs", "--json"), &runs))
	var sent int64
	for _, run := range runs {
		sent += run.Sent
	}
	require.EqualValues(t, 4000, sent)
}
