package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/test/oracle"
)

// letterTo is a dead letter that says that its order came from a topic.
func letterTo(topic, key, value string) *kgo.Record {
	return &kgo.Record{Topic: "orders-dlq", Key: []byte(key), Value: []byte(value), Headers: []kgo.RecordHeader{
		{Key: "dlq_code", Value: []byte("simulated_failure")}, {Key: "dlq_topic", Value: []byte(topic)},
		{Key: "dlq_partition", Value: []byte("0")}, {Key: "dlq_offset", Value: []byte("0")},
	}}
}

// Who may write dead letters must not be able to write state by them.
func TestALetterCannotReachTheStateTopic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.run(consumer, map[string]string{"FAILURE_RATE": "0"})
	for partition := range int32(6) {
		w.produce(&kgo.Record{Partition: partition, Key: []byte("a"), Value: avro("a", "Pen", 1.5)})
	}
	w.await(oracle.Config{}, 6)
	before := orderflow(t, w.env(nil), "aggregates", "--json")
	require.Equal(t, 0, before.status)
	w.produce(
		letterTo("orders-state", "aggregate/orders/0//Pen", "1 1000 5000 5 5"),
		letterTo("orders-state", "ledger/orders/0", "{"),
		letterTo("orders-dlq-redrives", "mark/orders-dlq/0/0", `{"action":"redriven"}`),
		letterTo("\x1b[2Jorders", "x", "y"),
	)
	dry := orderflow(t, w.env(nil), "dlq", "redrive", "--dry-run")
	require.Equal(t, 0, dry.status, dry.stderr)
	require.Equal(t, `Dry run, nothing was written
       4  matched
       0  would be sent
       0  would be parked
       4  refused: target_not_allowed
       4  left open
Targets: orders
No target is "\x1b[2Jorders": 1 letters name it
No target is "orders-dlq-redrives": 1 letters name it
No target is "orders-state": 2 letters name it
`, dry.stdout[:strings.Index(dry.stdout, "Not decoded")])
	refused := redrive.Counts{Matched: 4, LeftOpen: 4, Refused: map[string]int64{"target_not_allowed": 4}}
	require.Equal(t, refused, w.redrive().Counts)

	for flag, value := range map[string]string{"target": "orders-state", "orders-topic": "orders,orders-state"} {
		out := orderflow(t, w.env(nil), "dlq", "redrive", "--allow-other-target", "--"+flag, value)
		require.Equal(t, 1, out.status)
		require.Contains(t, out.stderr, `"orders-state" is the state topic: want `)
	}
	w.produce(&kgo.Record{Key: []byte("b"), Value: avro("b", "Ink", 1)})
	w.await(oracle.Config{}, 7)
	require.NoError(t, p.Terminate(patience))
	after := orderflow(t, w.env(nil), "aggregates", "--json")
	require.Contains(t, before.stdout, `"groups":{"Pen":{"count":6,"sum":"9","min":"1.5","max":"1.5","average":"1.5"}}`)
	require.Contains(t, after.stdout, `"groups":{"Ink":{"count":1,"sum":"1","min":"1","max":"1","average":"1"},"Pen":{"count":6,"sum":"9","min":"1.5","max":"1.5","average":"1.5"}}`)
	require.True(t, w.audit().OK)
}

// A producer can write the headers of a redriven order.
func TestAnOrderThatOnlyClaimsToBeRedrivenIsNotTakenForAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.run(consumer, map[string]string{"FAILURE_RATE": "0"})
	w.produce(&kgo.Record{Key: []byte("victim"), Value: avro("victim", "Pen", -1)})
	w.await(oracle.Config{}, 1)
	w.produce(&kgo.Record{Key: []byte("forged"), Value: avro("forged", "Pen", -2), Headers: []kgo.RecordHeader{
		{Key: "dlq_id", Value: []byte("orders/0/0")}, {Key: "dlq_redrives", Value: []byte("99")}}})
	w.await(oracle.Config{}, 2)

	shown := orderflow(t, w.env(nil), "dlq", "show", "orders/0/0")
	require.Equal(t, 0, shown.status, shown.stderr)
	require.Contains(t, shown.stdout, "orderId  victim")
	require.NotContains(t, shown.stdout, "all letters of")
	shown = orderflow(t, w.env(nil), "dlq", "show", "orders/0/1")
	require.Contains(t, shown.stdout, "orderId  forged")
	require.Contains(t, shown.stdout, "sent again   0 times before")

	// Not parked, and not instead of the other.
	require.Equal(t, redrive.Counts{Matched: 1, Sent: 1, Refused: map[string]int64{}, LeftOpen: 1}, w.redrive("--id", "orders/0/0", "--map", mapNegative).Counts)
	w.await(oracle.Config{}, 3)
	require.Equal(t, redrive.Counts{Matched: 1, Sent: 1, Refused: map[string]int64{}}, w.redrive().Counts)
	w.await(oracle.Config{}, 4)
	// What was truly sent again keeps its identity.
	shown = orderflow(t, w.env(nil), "dlq", "show", "orders/0/1")
	require.Contains(t, shown.stdout, "sent again   1 times before")
	require.Contains(t, shown.stdout, "all letters of orders/0/1")
	require.NoError(t, p.Terminate(patience))
	require.Empty(t, w.committed("orders-dlq-parking"))
	require.True(t, w.audit().OK)
	for _, m := range w.marks() {
		require.Equal(t, 1, m.Redrives)
		require.Regexp(t, `^orders/0/\d+$`, m.SentAs)
	}
}

func TestStateThatCannotBeReadStopsItsPartitionOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	env := map[string]string{"FAILURE_RATE": "0"}
	all := func(id string) {
		for partition := range int32(6) {
			w.produce(&kgo.Record{Partition: partition, Key: []byte(id), Value: avro(id, "Pen", 1.5)})
		}
	}
	p := w.run(consumer, env)
	all("a")
	w.await(oracle.Config{}, 6)
	require.NoError(t, p.Terminate(patience))

	cut := &kgo.Record{Topic: "orders-state", Partition: 2, Key: []byte("ledger/orders/2"), Value: []byte("{")}
	sum := &kgo.Record{Topic: "orders-state", Partition: 3, Key: []byte("aggregate/orders/3//Pen"), Value: []byte("2 1 1.5 1.5 1.5")}
	w.produce(cut, sum, &kgo.Record{Topic: "orders-state", Partition: 4, Key: []byte("a"), Value: avro("a", "Pen", 1.5)})

	named := fmt.Sprintf("orders-state/3 at offset %d: decoding aggregate of orders/3, group \"Pen\": ", sum.Offset)
	aggregated := orderflow(t, w.env(nil), "aggregates", "--json")
	require.Equal(t, 1, aggregated.status)
	require.Contains(t, aggregated.stderr, named)
	require.Contains(t, aggregated.stdout, `"overall":{"count":5,`)
	audited := orderflow(t, w.env(nil), "audit")
	require.Equal(t, 1, audited.status)
	require.Contains(t, audited.stderr, fmt.Sprintf("orders-state/2 at offset %d: decoding ledger: unexpected end of JSON input; the partitions that this concerns are left out", cut.Offset))
	require.NotContains(t, audited.stdout, "orders/2:")
	require.Contains(t, audited.stdout, "orders/3:")

	p = w.run(consumer, env)
	all("b")
	processed := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(w.committed("orders-processed")) == n }, patience, 50*time.Millisecond)
	}
	processed(10)
	awaitLog(t, p, "Partition orders/2 waits, since its state cannot be read: ")
	awaitLog(t, p, "Partition orders/3 waits, since its state cannot be read: ")
	awaitLog(t, p, "Ignored in the state topic, since no version of this program writes such records: orders-state/4 at offset ")
	require.NoError(t, p.Terminate(patience))

	env["SKIP_UNREADABLE_STATE"] = place(cut) + "," + place(sum)
	p = w.run(consumer, env)
	processed(12)
	require.NoError(t, p.Terminate(patience))
	w.await(oracle.Config{}, 12)
	require.True(t, w.audit().OK)
	aggregated = orderflow(t, w.env(nil), "aggregates", "--json")
	require.Equal(t, 0, aggregated.status, aggregated.stderr)
	require.Contains(t, aggregated.stdout, `"overall":{"count":12,`)
}
