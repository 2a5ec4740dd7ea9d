package kafka

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/cmd/orderflow/audit"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/child"
)

// troubles are what an operator or the broker does to topics and offsets. The README's table of
// messages tells what each of them leads to.
var troubles = []struct {
	name string
	test func(*site)
}{
	{"the DLQ is missing", dlqMissing},
	{"orders are too large", tooLarge},
	{"orders is made again while the consumer runs", madeAgainWhileRunning},
	{"orders is made again while the consumer is down", madeAgainWhileDown},
	{"orders gets more partitions", morePartitions},
	{"offsets are reset backwards", resetBackwards},
	{"offsets are reset forwards", resetForwards},
	{"offsets are forgotten", offsetsForgotten},
	{"offsets are behind the end", behindTheEnd},
	{"the orders at the end were aborted", abortedAtTheEnd},
	{"retention deletes what is not read", retentionDeletesUnread},
	{"retention deletes everything", retentionDeletesEverything},
	{"retention deletes what waits", retentionDeletesWaiting},
	{"compaction takes orders away", compactionTakesAway},
}

func TestTopicsInTrouble(t *testing.T) {
	cluster := Start(t, Options{})
	for _, c := range troubles {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // they mostly wait
			c.test(newSite(t, cluster, strings.ReplaceAll(c.name, " ", "-")))
		})
	}
}

func dlqMissing(s *site) {
	s.delete(s.env["DLQ_TOPIC"])
	p := s.run()
	for range 5 {
		s.order("Pen", 0)
		s.write(5)
	}
	p.AwaitLog(s.t, "Undeliverable, it waits: topic \\\""+s.env["DLQ_TOPIC"]+"\\\" does not exist", child.Patience)
	s.awaitProcessed(25) // healthy orders flow on

	s.orderflow("topics", "create")
	report := s.exactlyOnce(30, child.Patience)
	require.Equal(s.t, 5, report.DeadLettered)
	s.stop(p)
}

func tooLarge(s *site) {
	s.limit(s.env["PROCESSED_TOPIC"], "1000")
	s.limit(s.env["DLQ_TOPIC"], "3000")
	p := s.run()
	s.write(5)
	s.order(strings.Repeat("P", 1200), 1.5)
	s.order(strings.Repeat("P", 4000), 1.5)
	s.write(5)
	p.AwaitLog(s.t, "Undeliverable, it waits: record of", child.Patience)
	s.awaitProcessed(10)
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.DeadLettered == 1 && r.Waiting == 1 })

	s.limit(s.env["DLQ_TOPIC"], "100000")
	report := s.exactlyOnce(12, child.Patience)
	require.Equal(s.t, map[string]int{"output_refused": 2}, report.Codes)
	s.stop(p)
}

// madeAgain is what has to be seen and done once the topic is another one.
func madeAgain(s *site, p *child.Process) {
	s.write(7)
	p.AwaitLog(s.t, "was deleted and made again", child.Patience)
	require.Equal(s.t, 30, s.count(s.env["PROCESSED_TOPIC"]), "the state is not mixed up with that of another topic")
	s.stop(p)

	s.rename(s.env["CONSUMER_GROUP"] + "-again")
	p = s.run()
	s.exactlyOnce(7, child.Patience)
	s.stop(p)
}

func madeAgainWhileRunning(s *site) {
	p := s.run()
	s.write(30)
	s.exactlyOnce(30, child.Patience)
	s.delete(s.env["ORDERS_TOPIC"])
	p.AwaitLog(s.t, "topic \\\""+s.env["ORDERS_TOPIC"]+"\\\" does not exist", child.Patience)
	s.orderflow("topics", "create")
	madeAgain(s, p)
}

func madeAgainWhileDown(s *site) {
	p := s.run()
	s.write(30)
	s.exactlyOnce(30, child.Patience)
	s.stop(p)
	s.delete(s.env["ORDERS_TOPIC"])
	s.orderflow("topics", "create")
	madeAgain(s, s.run())
}

func morePartitions(s *site) {
	p := s.run()
	s.write(20)
	s.awaitProcessed(20)
	_, err := s.admin.CreatePartitions(s.t.Context(), 2, s.env["ORDERS_TOPIC"])
	require.NoError(s.t, err)
	p.AwaitLog(s.t, "waits, since the state topic", child.Patience)

	direct := s.cluster.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	value, err := s.enc.Append(nil, order.Order{ID: "manual", Product: "Pen", Price: 1.5})
	require.NoError(s.t, err)
	for partition := range int32(8) {
		require.NoError(s.t, direct.ProduceSync(s.t.Context(), &kgo.Record{Topic: s.env["ORDERS_TOPIC"], Partition: partition, Key: []byte("manual"), Value: value}).FirstErr())
	}
	s.awaitProcessed(26) // the six old partitions flow on
	require.Equal(s.t, 26, s.count(s.env["PROCESSED_TOPIC"]))

	_, err = s.admin.CreatePartitions(s.t.Context(), 2, s.env["STATE_TOPIC"])
	require.NoError(s.t, err)
	s.exactlyOnce(28, child.Patience)
	s.stop(p)
}

// waiting makes n orders wait and stops the consumer.
func waiting(s *site, n int) {
	s.env["FAILURE_RATE"] = "1"
	p := s.run()
	s.write(n)
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Waiting == int64(n) })
	s.stop(p)
	s.env["FAILURE_RATE"] = "0"
}

func resetBackwards(s *site) {
	p := s.run()
	s.write(40)
	s.order("Pen", 0)
	s.exactlyOnce(41, child.Patience)
	s.stop(p)
	waiting(s, 6)

	s.reset(map[int32]int64{0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0})
	p = s.run()
	p.AwaitLog(s.t, "orders between are processed and counted again", child.Patience)
	report := s.awaitAudit(child.Patience, func(r audit.Report) bool {
		return r.OK && r.Orders == 47 && r.Waiting == 0 && r.Processed+r.DeadLettered == r.Orders+r.Reread
	})
	// One that waits is not read again; but it may have got its outcome before it is come by.
	require.GreaterOrEqual(s.t, report.Reread, int64(41))
	require.LessOrEqual(s.t, report.Reread, int64(47))
	require.EqualValues(s.t, 2, report.DeadLettered)
	require.Contains(s.t, string(s.orderflow("aggregates", "--json")), `"overall":{"count":`+strconv.FormatInt(report.Processed, 10)+`,`)

	s.write(5)
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Orders == 52 && r.Reread == report.Reread })
	s.stop(p)
}

func resetForwards(s *site) {
	waiting(s, 6)
	s.write(20)
	s.reset(s.ends())
	p := s.run()
	p.AwaitLog(s.t, "orders between are skipped", child.Patience)
	s.write(5)
	report := s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Processed == 11 })
	require.EqualValues(s.t, 20, report.Skipped)
	require.EqualValues(s.t, 31, report.Orders)
	s.stop(p)
}

// Offsets of an idle group expire; so does a group that is deleted.
func offsetsForgotten(s *site) {
	p := s.run()
	s.write(20)
	s.exactlyOnce(20, child.Patience)
	s.stop(p)
	s.await("an empty group", child.Patience, func() (any, bool) {
		deleted, err := s.admin.DeleteGroups(s.t.Context(), s.env["CONSUMER_GROUP"])
		return deleted, err == nil && deleted.Error() == nil
	})
	s.write(5)
	p = s.run()
	p.AwaitLog(s.t, "The group has no committed offset of", child.Patience)
	s.exactlyOnce(25, child.Patience)
	s.stop(p)
}

// lag is what the group has still to read, as Kafka's tools show it.
func (s *site) lag() (sum int64) {
	s.t.Helper()
	offsets, err := s.admin.FetchOffsetsForTopics(s.t.Context(), s.env["CONSUMER_GROUP"], s.env["ORDERS_TOPIC"])
	require.NoError(s.t, err)
	for partition, end := range s.ends() {
		at, ok := offsets.Lookup(s.env["ORDERS_TOPIC"], partition)
		require.True(s.t, ok)
		sum += end - at.At
	}
	return sum
}

// caughtUp waits until there is no lag, and sees that nothing is committed after that.
func (s *site) caughtUp() {
	s.t.Helper()
	s.await("no lag", 10*time.Second, func() (any, bool) { lag := s.lag(); return lag, lag == 0 })
	commits := func() (sum int64) { // each writes to the state
		ends, err := s.admin.ListEndOffsets(s.t.Context(), s.env["STATE_TOPIC"])
		require.NoError(s.t, err)
		ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
		return sum
	}
	time.Sleep(2 * time.Second)
	before := commits()
	time.Sleep(5 * time.Second)
	require.Equal(s.t, before, commits(), "an idle group commits nothing")
	require.Zero(s.t, s.lag())
}

func behindTheEnd(s *site) {
	p := s.run()
	s.write(10)
	s.exactlyOnce(10, 60*time.Second)
	s.stop(p)

	ends := s.ends()
	beyond := map[int32]int64{}
	for partition, end := range ends {
		beyond[partition] = end + 1 + 100*int64(partition)
	}
	s.reset(beyond)
	p = s.run()
	p.AwaitLog(s.t, "behind the end of its log at", 30*time.Second)
	s.caughtUp()
	report := s.exactlyOnce(10, 20*time.Second)
	require.Equal(s.t, 10, report.Processed)
	s.write(10)
	s.exactlyOnce(20, 60*time.Second)
	s.stop(p)

	s.write(10) // which a reset behind the end does not skip
	s.reset(beyond)
	p = s.run()
	s.exactlyOnce(30, 60*time.Second)
	s.caughtUp()
	s.stop(p)
}

func abortedAtTheEnd(s *site) {
	p := s.run()
	s.write(10)
	s.order("Pen", 0)
	s.exactlyOnce(11, 60*time.Second)

	producer := s.cluster.Client(kgo.TransactionalID(s.env["CONSUMER_GROUP"]+"-producer"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	transaction := func(n int, end kgo.TransactionEndTry) {
		require.NoError(s.t, producer.BeginTransaction())
		for i := range n {
			value, err := s.enc.Append(nil, order.Order{ID: "t-" + strconv.Itoa(i), Product: "Pen", Price: 1.5})
			require.NoError(s.t, err)
			producer.Produce(s.t.Context(), &kgo.Record{Topic: s.env["ORDERS_TOPIC"], Value: value}, nil)
		}
		require.NoError(s.t, producer.Flush(s.t.Context()))
		require.NoError(s.t, producer.EndTransaction(s.t.Context(), end))
	}
	transaction(500, kgo.TryAbort)
	s.caughtUp()
	transaction(60, kgo.TryCommit)
	s.exactlyOnce(71, 30*time.Second)
	s.caughtUp()
	s.orderflow("dlq", "redrive", "--map", "root.price = 1.5")
	s.exactlyOnce(72, 30*time.Second)
	s.caughtUp()
	s.stop(p)

	transaction(500, kgo.TryAbort) // while nobody reads
	p = s.run()
	s.caughtUp()
	s.exactlyOnce(72, 30*time.Second)
	s.stop(p)
}

func retentionDeletesEverything(s *site) {
	p := s.run()
	s.write(20)
	s.exactlyOnce(20, 60*time.Second)
	require.NoError(s.t, p.Freeze()) // shorter than its session
	s.write(20)
	s.retain(s.ends())
	require.NoError(s.t, p.Thaw())
	s.caughtUp()
	s.stop(p)

	s.write(20)
	s.retain(s.ends())
	p = s.run()
	s.caughtUp()
	require.GreaterOrEqual(s.t, lost(p), 20)
	s.write(10)
	s.awaitAudit(30*time.Second, func(r audit.Report) bool { return r.OK && r.Orders == 10 && r.Processed == 10 })
	s.stop(p)
}

var lostRecords = regexp.MustCompile(`Lost to retention: .*, (\d+) records at most`)

// lost adds up what a consumer says that it lost.
func lost(p *child.Process) (n int) {
	for _, match := range lostRecords.FindAllStringSubmatch(p.Log(), -1) {
		records, _ := strconv.Atoi(match[1]) // digits
		n += records
	}
	return n
}

func retentionDeletesUnread(s *site) {
	p := s.run()
	s.write(30)
	s.exactlyOnce(30, child.Patience)
	s.stop(p)

	s.write(40)
	s.retain(s.ends())
	s.write(30)
	p = s.run()
	s.awaitProcessed(60)
	report := s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Orders == 30 })
	require.EqualValues(s.t, 30, report.Processed)
	require.Equal(s.t, 40, lost(p))

	require.NoError(s.t, p.Freeze()) // shorter than its session
	s.write(20)
	s.retain(s.ends())
	require.NoError(s.t, p.Thaw())
	s.write(30)
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Orders >= 30 && r.Processed == r.Orders })
	// A fetch that was under way when the consumer was frozen may have brought some of them.
	require.LessOrEqual(s.t, lost(p), 60)
	s.await("what was not lost", child.Patience, func() (any, bool) {
		found, want := s.count(s.env["PROCESSED_TOPIC"]), 60+50-(lost(p)-40)
		return found, found == want
	})
	s.stop(p)
}

func retentionDeletesWaiting(s *site) {
	s.limit(s.env["STATE_TOPIC"], "3000")
	s.env["FAILURE_RATE"] = "1"
	p := s.run()
	s.order(strings.Repeat("P", 4000), 1.5)
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Waiting == 1 })
	s.stop(p)
	s.env["FAILURE_RATE"] = "0"

	s.retain(s.ends())
	s.write(10)
	p = s.run()
	p.AwaitLog(s.t, "is gone: it was too large to be kept in the state", child.Patience)
	s.awaitProcessed(10)
	report := s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Waiting == 0 && r.Orders == 10 })
	require.EqualValues(s.t, 10, report.Processed)
	s.stop(p)
}

// Of 60 orders of three keys compaction leaves a few. Between them are transactions, one of them
// aborted, whose markers have offsets too.
func compactionTakesAway(s *site) {
	topic := s.env["ORDERS_TOPIC"]
	configure := func(name, value string) {
		_, err := s.admin.AlterTopicConfigs(s.t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
		require.NoError(s.t, err)
	}
	configure("segment.ms", "100")
	configure("min.cleanable.dirty.ratio", "0.001")
	p := s.run()
	value, err := s.enc.Append(nil, order.Order{ID: "again", Product: "Pen", Price: 1.5})
	require.NoError(s.t, err)
	batch := func() (records []*kgo.Record) {
		for i := range 3 {
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(i), Key: []byte{'k', byte('0' + i)}, Value: value})
		}
		return records
	}
	direct := s.cluster.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(topic))
	for i := range 21 {
		require.NoError(s.t, direct.BeginTransaction())
		require.NoError(s.t, direct.ProduceSync(s.t.Context(), batch()...).FirstErr())
		require.NoError(s.t, direct.EndTransaction(s.t.Context(), kgo.TransactionEndTry(i != 7))) // and not another one
		time.Sleep(110 * time.Millisecond)                                                        // a segment each
	}
	s.awaitProcessed(60)
	s.awaitAudit(20*time.Second, func(r audit.Report) bool { return r.OK && r.Orders == 60 && r.Processed == 60 && r.Compacted == 0 })

	configure("cleanup.policy", "compact") // now that each was read
	report := s.awaitAudit(90*time.Second, func(r audit.Report) bool { return r.Compacted > 30 })
	require.True(s.t, report.OK)
	require.EqualValues(s.t, 60, report.Orders)
	require.EqualValues(s.t, 60, report.Processed)
	require.Zero(s.t, report.Duplicates)
	require.Contains(s.t, string(s.orderflow("audit")), " compacted away) = 60 processed")
	s.stop(p)
}
