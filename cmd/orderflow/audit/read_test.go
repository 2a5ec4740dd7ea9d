package audit

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// world is a broker with the topics of a run, each with one partition.
type world struct {
	t       *testing.T
	cluster *kfake.Cluster
	opts    []kgo.Opt
	cl      *kgo.Client
	adm     *kadm.Client
}

var classic = Topics{Orders: "orders", Processed: "orders-processed", DLQ: "orders-dlq", State: "orders-state", Group: "g"}

func start(t *testing.T) *world {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, classic.Orders, classic.Processed, classic.DLQ, classic.State))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	w := &world{t: t, cluster: cluster, opts: []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}}
	w.cl, err = kgo.NewClient(append(w.opts, kgo.TransactionalID("writer"))...)
	require.NoError(t, err)
	t.Cleanup(w.cl.Close)
	w.adm = kadm.NewClient(w.cl)
	return w
}

// write produces records in a transaction.
func (w *world) write(end kgo.TransactionEndTry, records ...*kgo.Record) {
	require.NoError(w.t, w.cl.BeginTransaction())
	require.NoError(w.t, w.cl.ProduceSync(context.Background(), records...).FirstErr())
	require.NoError(w.t, w.cl.EndTransaction(context.Background(), end))
}

// commit sets the offset of the group.
func (w *world) commit(offset int64) {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: classic.Orders, At: offset})
	require.NoError(w.t, w.adm.CommitAllOffsets(context.Background(), classic.Group, offsets))
}

func (w *world) audit() Sums {
	report, err := Run(context.Background(), classic, w.opts...)
	require.NoError(w.t, err)
	require.Len(w.t, report.Partitions, 1)
	require.Equal(w.t, report.Sums, report.Partitions[0].Sums)
	require.Equal(w.t, report.Missing == 0 && report.Duplicates == 0, report.OK)
	return report.Sums
}

func order() *kgo.Record { return &kgo.Record{Topic: classic.Orders} }

func processed(origin string) *kgo.Record {
	return &kgo.Record{Topic: classic.Processed, Headers: []kgo.RecordHeader{{Key: "origin", Value: []byte("forged")}, {Key: "origin", Value: []byte(origin)}}}
}

func deadLetter(topic string, offset int) *kgo.Record {
	return &kgo.Record{Topic: classic.DLQ, Headers: []kgo.RecordHeader{
		{Key: "dlq_topic", Value: []byte(topic)}, {Key: "dlq_partition", Value: []byte("0")}, {Key: "dlq_offset", Value: fmt.Append(nil, offset)},
	}}
}

func state(key, value string) *kgo.Record {
	r := &kgo.Record{Topic: classic.State, Key: []byte(key)}
	if value != "" {
		r.Value = []byte(value)
	}
	return r
}

func ledger(start, dropped int) *kgo.Record {
	return state("ledger/orders/0", fmt.Sprintf(`{"group":"g","start":%d,"dropped":%d}`, start, dropped))
}

// Six orders at the offsets 0 to 5, of which the group has read five.
func (w *world) run() {
	w.write(kgo.TryCommit, order(), order(), order(), order(), order(), order())
	w.commit(5)
}

func TestAnAuditMatchesWhatIsCommitted(t *testing.T) {
	w := start(t)
	w.run()
	require.Equal(t, Sums{Orders: 5, Missing: 5}, w.audit(), "what the group has not read is not missing")

	w.write(kgo.TryCommit, processed("orders/0/0"), deadLetter("orders", 1), state("waiting/orders/0/2", "x"), state("waiting/orders/0/3", "x"), ledger(0, 1))
	require.Equal(t, Sums{Orders: 5, Processed: 1, DeadLettered: 1, Waiting: 2, Dropped: 1}, w.audit())

	w.write(kgo.TryAbort, processed("orders/0/0"), processed("orders/0/2"), state("waiting/orders/0/2", ""))
	require.Equal(t, Sums{Orders: 5, Processed: 1, DeadLettered: 1, Waiting: 2, Dropped: 1}, w.audit(), "an aborted transaction changes nothing")

	w.write(kgo.TryCommit, processed("orders/0/2"), state("waiting/orders/0/2", ""))
	require.Equal(t, Sums{Orders: 5, Processed: 2, DeadLettered: 1, Waiting: 1, Dropped: 1}, w.audit(), "a tombstone ends a wait")

	w.write(kgo.TryCommit, deadLetter("orders", 3))
	require.Equal(t, Sums{Orders: 5, Processed: 2, DeadLettered: 2, Waiting: 1, Dropped: 1, Duplicates: 1}, w.audit(), "an order that waits has no other outcome")
}

func TestWhatIsNotOfTheseOrdersIsLeftOut(t *testing.T) {
	w := start(t)
	w.run()
	w.write(kgo.TryCommit,
		processed("elsewhere/0/0"), processed("orders/7/0"), processed("orders/0/x"), processed("orders/0"), deadLetter("elsewhere", 1),
		state("waiting/elsewhere/0/2", "x"), state("ledger/elsewhere/0", `{"group":"another"}`), state("aggregate/orders/0/a/b", "x"))
	require.Equal(t, Sums{Orders: 5, Missing: 5}, w.audit())
}

func TestAnAuditBeginsWhereTheGroupHasBegun(t *testing.T) {
	w := start(t)
	w.run()
	w.write(kgo.TryCommit, ledger(3, 0), processed("orders/0/3"), processed("orders/0/4"))
	require.Equal(t, Sums{Orders: 2, Processed: 2}, w.audit())
}

func TestOrdersThatRetentionDeletedAreNotMissing(t *testing.T) {
	w := start(t)
	w.run()
	w.write(kgo.TryCommit, ledger(0, 1), processed("orders/0/0"), processed("orders/0/3"), processed("orders/0/4"))
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: classic.Orders, At: 3})
	deleted, err := w.adm.DeleteRecords(t.Context(), offsets)
	require.NoError(t, err)
	require.NoError(t, deleted.Error())
	require.Equal(t, Sums{Orders: 2, Processed: 2}, w.audit())
}

// The same orders are audited before their topic is compacted, and after.
func TestOrdersThatWereCompactedAwayAreNoDuplicates(t *testing.T) {
	w := start(t)
	_, err := w.adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "cleanup.policy", Value: kadm.StringPtr("compact")}}, classic.Orders)
	require.NoError(t, err)
	keyed := func(key string) *kgo.Record {
		return &kgo.Record{Topic: classic.Orders, Key: []byte(key), Value: []byte("x")}
	}
	w.write(kgo.TryCommit, keyed("z"), keyed("a"), keyed("b")) // 0, 1, 2 and a marker
	w.write(kgo.TryCommit, keyed("a"))                         // 4 and a marker
	w.write(kgo.TryAbort, keyed("c"))                          // 6 and a marker
	w.write(kgo.TryCommit, keyed("b"), keyed("d"))             // 8, 9 and a marker
	w.write(kgo.TryCommit, keyed("e"))                         // behind what was read
	w.commit(11)
	w.write(kgo.TryCommit, processed("orders/0/0"), processed("orders/0/1"), deadLetter("orders", 2), processed("orders/0/4"), processed("orders/0/8"), processed("orders/0/9"))
	whole := Sums{Orders: 6, Processed: 5, DeadLettered: 1}
	require.Equal(t, whole, w.audit())

	w.cluster.Compact()
	compacted := whole
	compacted.Compacted = 2
	require.Equal(t, compacted, w.audit(), "the first ones of a and b")

	w.write(kgo.TryCommit, processed("orders/0/2"))
	twice := compacted
	twice.Processed, twice.Duplicates = 6, 1
	require.Equal(t, twice, w.audit(), "also what was compacted away has one outcome")

	w.write(kgo.TryCommit, processed("orders/0/10"))
	twice.Processed, twice.Duplicates = 7, 2
	require.Equal(t, twice, w.audit(), "a marker has none")
	w.commit(1000)
	require.Equal(t, twice.Duplicates, w.audit().Duplicates, "an offset past the end is not waited for")
}

// Without the right to read the topic's configuration the outcome of no record is not taken for that
// of an order, and the reader is told.
func TestAnAuditSaysWhereItCouldNotAskWhetherATopicIsCompacted(t *testing.T) {
	w := start(t)
	w.run()
	w.write(kgo.TryCommit, processed("orders/0/0"), processed("orders/0/1"), processed("orders/0/2"), processed("orders/0/3"), processed("orders/0/4"))
	w.commit(7)
	w.write(kgo.TryCommit, processed("orders/0/5"), processed("orders/0/6"))
	w.cluster.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, asked := range req.(*kmsg.DescribeConfigsRequest).Resources {
			r := kmsg.NewDescribeConfigsResponseResource()
			r.ResourceType, r.ResourceName, r.ErrorCode = asked.ResourceType, asked.ResourceName, kerr.TopicAuthorizationFailed.Code
			resp.Resources = append(resp.Resources, r)
		}
		return resp, nil, true
	})
	report, err := Run(t.Context(), classic, w.opts...)
	require.NoError(t, err)
	require.EqualValues(t, 1, report.Duplicates)
	require.False(t, report.OK)
	require.Equal(t, []string{"The configuration of topic orders may not be read. So 1 outcomes of offsets without a record count as duplicates; if the topic is compacted, they are of orders that were compacted away."}, report.Notes)
}

func TestAnAuditThatCannotBeMadeSaysWhy(t *testing.T) {
	w := start(t)
	w.run()
	elsewhere := classic
	elsewhere.Orders = "nowhere"
	_, err := Run(t.Context(), elsewhere, w.opts...)
	require.ErrorContains(t, err, `topic "nowhere" does not exist`)

	w.write(kgo.TryCommit, state("ledger/orders/0", `{"group":"another"}`))
	_, err = Run(t.Context(), classic, w.opts...)
	require.ErrorContains(t, err, `state topic "orders-state" belongs to consumer group "another", not to "g"`)

	w.write(kgo.TryCommit, state("ledger/orders/0", `{`))
	_, err = Run(t.Context(), classic, w.opts...)
	require.ErrorContains(t, err, "orders-state/0 at offset")
}
