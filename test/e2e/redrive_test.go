package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

// redriven is what `dlq redrive --json` prints.
type redriven struct {
	redrive.Run
	DryRun      bool `json:"dry_run"`
	Interrupted bool `json:"interrupted"`
	NotDecoded  struct {
		Letters int
	} `json:"not_decoded"`
	Samples []struct {
		Before, After map[string]any
	}
}

// redrive runs `dlq redrive` to its end.
func (w *world) redrive(args ...string) redriven {
	w.t.Helper()
	out := orderflow(w.t, w.env(nil), append([]string{"dlq", "redrive", "--json"}, args...)...)
	require.Equal(w.t, 0, out.status, out.stderr)
	var r redriven
	require.NoError(w.t, json.Unmarshal([]byte(out.stdout), &r), out.stdout)
	return r
}

// deadLetters are n letters of three causes in turn, of orders that were never there.
func deadLetters(n int) []*kgo.Record {
	causes := []struct {
		code  string
		price float64
	}{{"price_not_positive", -2.5}, {"simulated_failure", 2.5}, {"decode_failed", 0}}
	var records []*kgo.Record
	for i := range n {
		cause := causes[i%3]
		id := fmt.Sprintf("o-%d", i)
		value := avro(id, "Pen", cause.price)
		if cause.code == "decode_failed" {
			value = []byte("no order")
		}
		records = append(records, &kgo.Record{Topic: "orders-dlq", Partition: int32(i % 6), Key: []byte(id), Value: value, Headers: []kgo.RecordHeader{
			{Key: "trace", Value: []byte(id)}, {Key: "dlq_id", Value: fmt.Appendf(nil, "orders/0/%d", i)}, {Key: "dlq_code", Value: []byte(cause.code)},
			{Key: "dlq_topic", Value: []byte("orders")}, {Key: "dlq_partition", Value: []byte("0")}, {Key: "dlq_offset", Value: fmt.Appendf(nil, "%d", i)},
			{Key: "dlq_redrives", Value: []byte("0")},
		}})
	}
	return records
}

// marks returns the letters that are marked. No letter may be marked twice.
func (w *world) marks() map[redrive.Place]redrive.Mark {
	w.t.Helper()
	all := map[redrive.Place]redrive.Mark{}
	for _, r := range w.committed("orders-dlq-redrives") {
		if p, m, ok, err := redrive.ParseMark(r.Key, r.Value); ok {
			require.NoError(w.t, err)
			_, twice := all[p] // not NotContains, which looks at each key
			require.False(w.t, twice, "%s is marked twice", p)
			all[p] = m
		}
	}
	return all
}

// mendedOnce asserts that the letters of the first cause were sent once each, with a price that
// is right, and that they alone are marked.
func (w *world) mendedOnce(letters []*kgo.Record) {
	w.t.Helper()
	marks, want := w.marks(), map[string]bool{}
	for _, l := range letters {
		if header(w.t, l, "dlq_code") == "price_not_positive" {
			want[string(l.Key)] = true
			p := redrive.Place{Topic: l.Topic, Partition: l.Partition, Offset: l.Offset}
			require.Equal(w.t, redrive.Redriven, marks[p].Action, "%s is not marked", p)
		}
	}
	require.Len(w.t, marks, len(want))
	for _, r := range w.committed("orders") {
		id := string(r.Key)
		require.True(w.t, want[id], "%s is sent twice, or should not be", id)
		delete(want, id)
		require.Equal(w.t, avro(id, "Pen", 2.5), r.Value)
		require.Equal(w.t, id, header(w.t, r, "trace"))
		require.Equal(w.t, "1", header(w.t, r, "dlq_redrives"))
		require.Len(w.t, r.Headers, 3)
	}
	require.Empty(w.t, want, "orders that were not sent")
}

const whereNegative, mapNegative = `@dlq_code == "price_not_positive"`, "root.price = this.price.abs()"

func TestAnOrderIsMendedSentAgainAndCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.run(consumer, map[string]string{"FAILURE_RATE": "0"})
	w.produce(
		&kgo.Record{Key: []byte("a"), Value: avro("a", "Pen", 1.5)},
		&kgo.Record{Key: []byte("b"), Value: avro("b", "Pen", -1.5), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x")}}},
		&kgo.Record{Key: []byte("c"), Value: avro("c", "Pen", 0)})
	w.await(oracle.Config{}, 3)

	dry := w.redrive("--where", whereNegative, "--map", mapNegative, "--dry-run")
	require.True(t, dry.DryRun)
	// The order whose price is 0 would break the rule again.
	require.Equal(t, redrive.Counts{Matched: 2, Sent: 1, Refused: map[string]int64{"price_not_positive": 1}, LeftOpen: 1}, dry.Counts)
	require.Len(t, dry.Samples, 1)
	require.EqualValues(t, -1.5, dry.Samples[0].Before["price"])
	require.EqualValues(t, 1.5, dry.Samples[0].After["price"])
	require.Empty(t, w.marks())

	require.Equal(t, dry.Counts, w.redrive("--where", whereNegative, "--map", mapNegative).Counts)
	w.await(oracle.Config{}, 4)
	require.NoError(t, p.Terminate(patience))

	var processed []*kgo.Record
	for _, r := range w.committed("orders-processed") {
		if string(r.Key) == "b" {
			processed = append(processed, r)
		}
	}
	require.Len(t, processed, 1)
	require.JSONEq(t, `{"orderId":"b","product":"Pen","price":1.5}`, string(processed[0].Value))
	require.Len(t, processed[0].Headers, 1, "origin alone: nothing of the redrive leaks")
	run := orderflow(t, w.env(nil), "aggregates", "--json")
	require.JSONEq(t, `{"overall":{"count":2,"sum":"3","min":"1.5","max":"1.5","average":"1.5"},
		"groups":{"Pen":{"count":2,"sum":"3","min":"1.5","max":"1.5","average":"1.5"}}}`, run.stdout)
	audited := w.audit()
	require.True(t, audited.OK)
	require.EqualValues(t, 4, audited.Orders)
	require.EqualValues(t, 2, audited.Processed)

	runs := orderflow(t, w.env(nil), "dlq", "runs", "--json")
	var list []redrive.Run
	require.NoError(t, json.Unmarshal([]byte(runs.stdout), &list), runs.stderr)
	require.Len(t, list, 1, "a dry run leaves no record")
	require.Equal(t, whereNegative, list[0].Where)
	require.Equal(t, mapNegative, list[0].Map)
	require.EqualValues(t, 1, list[0].Sent)
}

func TestAnOrderThatFailsAgainAndAgainIsParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.run(consumer, map[string]string{"FAILURE_RATE": "0"})
	w.produce(&kgo.Record{Key: []byte("b"), Value: avro("b", "Pen", -1.5), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x")}}})
	for sent := range 2 {
		w.await(oracle.Config{}, 1+sent)
		require.Equal(t, redrive.Counts{Matched: 1, Sent: 1, Refused: map[string]int64{}}, w.redrive("--max-redrives", "2").Counts)
	}
	w.await(oracle.Config{}, 3)
	require.Equal(t, redrive.Counts{Matched: 1, Parked: 1, Refused: map[string]int64{}}, w.redrive("--max-redrives", "2").Counts)
	require.Equal(t, redrive.Counts{Refused: map[string]int64{}}, w.redrive("--max-redrives", "2").Counts)
	require.NoError(t, p.Terminate(patience))

	letters := w.committed("orders-dlq")
	require.Len(t, letters, 3)
	var places []string
	for i, l := range letters {
		require.Equal(t, "orders/0/0", header(t, l, "dlq_id"), "it is known by where it first was")
		require.Equal(t, fmt.Sprint(i), header(t, l, "dlq_redrives"))
		require.Equal(t, "x", header(t, l, "trace"))
		places = append(places, header(t, l, "dlq_partition")+"/"+header(t, l, "dlq_offset"))
	}
	slices.Sort(places)
	require.Len(t, slices.Compact(places), 3, "each names the record that failed")
	parked := w.committed("orders-dlq-parking")
	require.Len(t, parked, 1)
	require.Equal(t, letters[2].Headers, parked[0].Headers)
	require.Equal(t, letters[2].Value, parked[0].Value)
	require.True(t, w.audit().OK)
}

// The later orders of a key wait for one that died, until it was mended and sent again.
func TestAMendedOrderLetsTheOrdersBehindItGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var env []string
	for name, value := range w.env(map[string]string{"FAILURE_RATE": "0"}) {
		env = append(env, name+"="+value)
	}
	p := child.Start(t, child.Command{Name: "consumer", Path: child.Orderflow(t), Dir: child.Root(t), Env: env, Args: []string{
		"run", "--set", "input.kafka_transactional.ordering=key", "--set", "input.kafka_transactional.on_dead_letter=hold_key", consumer}})
	// A producer that chooses partitions by another hash than ours.
	var orders []*kgo.Record
	for i, price := range []float64{-1, 2, 3} {
		orders = append(orders, &kgo.Record{Partition: 4, Key: []byte("k"), Value: avro(fmt.Sprintf("k-%d", i), "Pen", price)})
	}
	w.produce(orders...)
	w.awaitWaiting(2)
	require.Empty(t, w.committed("orders-processed"))
	require.EqualValues(t, 1, w.redrive("--map", mapNegative).Sent)
	require.Eventually(t, func() bool { return len(w.committed("orders-processed")) == 3 }, patience, 50*time.Millisecond)
	var ids []string
	for _, r := range w.committed("orders-processed") {
		var o struct{ OrderID string }
		require.NoError(t, json.Unmarshal(r.Value, &o))
		ids = append(ids, o.OrderID)
	}
	require.Equal(t, []string{"k-0", "k-1", "k-2"}, ids)
	require.NoError(t, p.Terminate(patience))
	require.True(t, w.audit().OK)
}

// startRedrive starts `dlq redrive` of the first cause.
func (w *world) startRedrive(rate int) *child.Process {
	w.t.Helper()
	var env []string
	for name, value := range w.env(map[string]string{"LOG_LEVEL": "WARN"}) {
		env = append(env, name+"="+value)
	}
	return child.Start(w.t, child.Command{Name: "redrive", Path: child.Orderflow(w.t), Dir: child.Root(w.t), Env: env,
		Args: []string{"dlq", "redrive", "--where", whereNegative, "--map", mapNegative, "--rate", fmt.Sprint(rate)}})
}

// awaitSent waits until the topic of the orders has grown so far, or the process has ended.
func (w *world) awaitSent(p *child.Process, n int64) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		sum := w.written("orders")
		select {
		case <-p.Done():
			return true
		default:
			return sum >= n
		}
	}, patience, 5*time.Millisecond)
}

// written is how many offsets of a topic are taken, be it by what is committed or not.
func (w *world) written(topic string) (sum int64) {
	w.t.Helper()
	ends, err := kadm.NewClient(w.client).ListEndOffsets(w.t.Context(), topic)
	require.NoError(w.t, err)
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	return sum
}

func TestARedriveThatIsKilledGoesOnAndSendsEachOrderOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	letters := deadLetters(20_000)
	w.produce(letters...)
	for range 5 {
		before := w.written("orders")
		p := w.startRedrive(2000)
		w.awaitSent(p, before+600) // the second batch of 500 is written, and so the first one committed
		p.Kill()
	}
	last := w.redrive("--where", whereNegative, "--map", mapNegative)
	require.Positive(t, last.Sent, "they were killed in the middle")
	require.LessOrEqual(t, last.Sent, int64(6667-5*500), "what they had committed is not sent again")
	require.EqualValues(t, 13_333, last.LeftOpen)
	require.Equal(t, 6666, last.NotDecoded.Letters)
	w.mendedOnce(letters)

	var ended, begun int64
	runs := orderflow(t, w.env(nil), "dlq", "runs", "--json")
	var list []redrive.Run
	require.NoError(t, json.Unmarshal([]byte(runs.stdout), &list), runs.stderr)
	var sent int64
	for _, r := range list {
		begun++
		sent += r.Sent
		if !r.Ended.IsZero() {
			ended++
		}
	}
	require.EqualValues(t, 1, ended)
	require.Greater(t, begun, ended)
	require.EqualValues(t, 6667, sent, "the audit records of those that were killed tell how far they came")
}

func TestOfTwoRedrivesOneTakesOverAndEachOrderIsSentOnce(t *testing.T) {
	for name, start := range map[string]func(*world) *child.Process{
		"the first is a command": func(w *world) *child.Process { return w.startRedrive(300) },
		"the first is a pipeline": func(w *world) *child.Process {
			return w.run("config/pipelines/dlq_redrive.yaml", map[string]string{"REDRIVE_WHERE": whereNegative, "REDRIVE_MAP": mapNegative, "REDRIVE_RATE": "300"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			letters := deadLetters(3000)
			w.produce(letters...)
			first := start(w)
			w.awaitSent(first, 100)
			second := w.startRedrive(2000)
			require.Error(t, first.Wait(patience), "its exit status says so")
			require.Contains(t, first.Log(), "another redrive of orders-dlq has taken over")
			require.NoError(t, second.Wait(patience))
			w.mendedOnce(letters)
		})
	}
}

func TestAnInterruptedRedriveSaysWhatItDidAndGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	letters := deadLetters(3000)
	w.produce(letters...)
	p := w.startRedrive(300)
	w.awaitSent(p, 200)
	require.NoError(t, p.Signal(syscall.SIGINT))
	require.Error(t, p.Wait(patience))
	sent := len(w.marks())
	require.Contains(t, p.Log(), fmt.Sprintf("interrupted: %d orders were sent and 0 letters parked; run it again to go on", sent))
	require.EqualValues(t, 1000-sent, w.redrive("--where", whereNegative, "--map", mapNegative).Sent)
	w.mendedOnce(letters)
}

// The pipeline by itself does the same as the command.
func TestTheRedrivePipelineRunsByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	letters := deadLetters(300)
	w.produce(letters...)
	p := w.run("config/pipelines/dlq_redrive.yaml", map[string]string{"REDRIVE_WHERE": whereNegative, "REDRIVE_MAP": mapNegative})
	require.NoError(t, p.Wait(patience))
	require.Contains(t, p.Log(), "100  sent")
	w.mendedOnce(letters)
}

func TestWrongCallsOfRedriveNameTheFlag(t *testing.T) {
	t.Parallel()
	for flag, value := range map[string]string{"where": "this.price <", "map": "root = ", "rate": "-1", "limit": "-1", "max-redrives": "-1"} {
		out := orderflow(t, nil, "dlq", "redrive", "--"+flag, value)
		require.Equal(t, 2, out.status, flag)
		require.True(t, strings.HasPrefix(out.stderr, "flag --"+flag+": "), out.stderr)
		require.Empty(t, out.stdout)
	}
	out := orderflow(t, map[string]string{"KAFKA_BROKERS": "127.0.0.1:1"}, "dlq", "redrive")
	require.Equal(t, 1, out.status)
	require.Contains(t, out.stderr, "connecting to 127.0.0.1:1")
}
