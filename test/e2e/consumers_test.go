package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

// verdicts are what the seed says of the orders of a run, by order id.
type verdicts struct{ processed, dead []string }

func seedSays(orders []*kgo.Record) (v verdicts) {
	for _, r := range orders {
		if id := string(r.Key); classic.Fails(id, 1) {
			v.dead = append(v.dead, id)
		} else {
			v.processed = append(v.processed, id)
		}
	}
	return v
}

func keys(records []*kgo.Record) []string {
	all := make([]string, len(records))
	for i, r := range records {
		all[i] = string(r.Key)
	}
	return all
}

// Both consumers read the same orders, each into topics of its own.
func TestBothConsumersGiveEachOrderTheOutcomeThatTheSeedSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	stock := map[string]string{
		"PROCESSED_TOPIC": "stock-processed", "DLQ_TOPIC": "stock-dlq", "STATE_TOPIC": "stock-state", "CONSUMER_GROUP": "stock",
	}
	w.createTopics(stock)

	p := w.run(producer, nil)
	require.NoError(t, p.Wait(patience))
	require.Regexp(t, `Delivery\n  produced +100\n  failed +0\n  latency +average [\d.]+ ms, p50 [\d.]+ ms, p99 [\d.]+ ms\n`, p.Log())
	orders := w.committed("orders")
	require.Len(t, orders, 100)
	want := seedSays(orders)
	require.InDelta(t, 15, len(want.dead), 10)

	a, b := w.run(consumer, nil), w.run(atLeastOnce, stock)
	report := w.await(oracle.Config{}, 100)
	require.NoError(t, report.ExactlyOnce())
	stockReport := w.await(oracle.Config{Processed: "stock-processed", DeadLetters: "stock-dlq", IgnoreHeaders: true}, 100)
	require.NoError(t, stockReport.ExactlyOnce(), "nothing went wrong, so that nothing was delivered twice")

	for _, run := range []struct {
		name, group, processed, dlq string
		process                     *child.Process
		sums                        oracle.Aggregates
	}{
		{"transactional", "orderflow", "orders-processed", "orders-dlq", a, report.Aggregates},
		{"at least once", "stock", "stock-processed", "stock-dlq", b, stockReport.Aggregates},
	} {
		t.Run(run.name, func(t *testing.T) {
			processed, dead := w.committed(run.processed), w.committed(run.dlq)
			require.ElementsMatch(t, want.processed, keys(processed))
			require.ElementsMatch(t, want.dead, keys(dead))
			for _, r := range processed {
				checkProcessed(t, orders, r)
			}
			for _, r := range dead {
				checkDeadLetter(t, orders, r, run.group)
			}
			require.NoError(t, run.process.Terminate(patience), "a graceful stop has exit status 0")
			checkSummary(t, run.process.Log(), len(processed), len(dead), run.sums)
		})
	}
	t.Run("audit", func(t *testing.T) {
		run := orderflow(t, w.env(nil), "audit", "--json")
		require.Equal(t, 0, run.status, run.stderr)
		var got struct {
			OK           bool `json:"ok"`
			Orders       int  `json:"orders"`
			Processed    int  `json:"processed"`
			DeadLettered int  `json:"dead_lettered"`
			Waiting      int  `json:"waiting"`
			Dropped      int  `json:"dropped"`
			Missing      int  `json:"missing"`
			Duplicates   int  `json:"duplicates"`
			Partitions   []struct {
				Orders int `json:"orders"`
			} `json:"partitions"`
		}
		require.NoError(t, json.Unmarshal([]byte(run.stdout), &got))
		require.True(t, got.OK)
		require.Equal(t, []int{100, len(want.processed), len(want.dead), 0, 0, 0, 0},
			[]int{got.Orders, got.Processed, got.DeadLettered, got.Waiting, got.Dropped, got.Missing, got.Duplicates})
		sum := 0
		for _, p := range got.Partitions {
			sum += p.Orders
		}
		require.Equal(t, 100, sum)
	})
	t.Run("aggregates", func(t *testing.T) {
		run := orderflow(t, w.env(nil), "aggregates", "--json")
		require.Equal(t, 0, run.status, run.stderr)
		exact, err := json.Marshal(report.Aggregates)
		require.NoError(t, err)
		require.JSONEq(t, string(exact), run.stdout)
		require.Equal(t, int64(len(want.processed)), report.Aggregates.Overall.Count)
	})
	t.Run("monitor", func(t *testing.T) {
		m := w.run(monitor, nil)
		m.AwaitLog(t, fmt.Sprintf("Dead letters: %d in 1 groups", len(want.dead)), patience)
		require.NoError(t, m.Terminate(patience))
		require.Regexp(t, fmt.Sprintf(`\n  count +%d\n  total value +%s\n`, len(want.dead), value(t, w.committed("orders-dlq"))), m.Log())
		for _, id := range want.dead {
			require.Contains(t, m.Log(), "    "+id+"  ")
		}
	})
}

// value is the exact sum of the prices of orders in plain Avro, which have two decimals at most.
func value(t *testing.T, orders []*kgo.Record) string {
	t.Helper()
	sum := new(big.Rat)
	for _, r := range orders {
		price := math.Float64frombits(binary.LittleEndian.Uint64(r.Value[len(r.Value)-8:]))
		exact, ok := new(big.Rat).SetString(strconv.FormatFloat(price, 'f', -1, 64))
		require.True(t, ok)
		sum.Add(sum, exact)
	}
	return strings.TrimSuffix(strings.TrimRight(sum.FloatString(2), "0"), ".")
}

// source finds the order that an outcome names as its own.
func source(t *testing.T, orders []*kgo.Record, origin string) *kgo.Record {
	t.Helper()
	i := slices.IndexFunc(orders, func(r *kgo.Record) bool { return place(r) == origin })
	require.GreaterOrEqual(t, i, 0, "no order is at %s", origin)
	return orders[i]
}

func checkProcessed(t *testing.T, orders []*kgo.Record, r *kgo.Record) {
	t.Helper()
	from := source(t, orders, header(t, r, "origin"))
	require.Equal(t, from.Key, r.Key)
	var got struct {
		OrderID string  `json:"orderId"`
		Product string  `json:"product"`
		Price   float64 `json:"price"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(r.Value)))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&got))
	require.Equal(t, from.Value, avro(got.OrderID, got.Product, got.Price), "the order is the one that came")
	require.Len(t, r.Headers, 1, "a processed order has the header origin alone: %v", r.Headers)
}

func checkDeadLetter(t *testing.T, orders []*kgo.Record, r *kgo.Record, group string) {
	t.Helper()
	from := source(t, orders, header(t, r, "dlq_id"))
	require.Equal(t, from.Key, r.Key)
	require.Equal(t, from.Value, r.Value, "the original bytes")
	for name, value := range map[string]string{
		"dlq_class":     "transient",
		"dlq_code":      "simulated_failure",
		"dlq_error":     "Max retries exceeded: Simulated processing failure",
		"dlq_stage":     "order_validate",
		"dlq_attempts":  "4",
		"dlq_topic":     "orders",
		"dlq_partition": strconv.Itoa(int(from.Partition)),
		"dlq_offset":    strconv.FormatInt(from.Offset, 10),
		"dlq_timestamp": from.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"),
		"dlq_group":     group,
		"dlq_redrives":  "0",
	} {
		require.Equal(t, value, header(t, r, name), name)
	}
	times := strings.Split(header(t, r, "dlq_attempt_times"), ",")
	require.Len(t, times, 4)
	require.Equal(t, times[0], header(t, r, "dlq_first_failed_at"))
	require.Equal(t, times[3], header(t, r, "dlq_last_failed_at"))
	checkWaits(t, times)
}

// checkWaits checks that the attempts were 1 s, 2 s and 4 s apart: never less, and a little more
// at most.
func checkWaits(t *testing.T, times []string) {
	t.Helper()
	var last time.Time
	for i, text := range times {
		at, err := time.Parse("2006-01-02T15:04:05.000Z", text)
		require.NoError(t, err)
		if i > 0 {
			wait := time.Second << (i - 1)
			require.GreaterOrEqual(t, at.Sub(last), wait, "wait %d", i)
		}
		last = at
	}
}

// checkSummary checks what a consumer prints at its end.
func checkSummary(t *testing.T, log string, processed, dead int, sums oracle.Aggregates) {
	t.Helper()
	all := processed + dead
	require.Regexp(t, fmt.Sprintf(`Retries\n  attempts +%d\n  retries +%d \(retry 1: %d, retry 2: %[3]d, retry 3: %[3]d\)\n  recovered +0\n  exhausted +%[3]d\n  permanent failures +0\n`,
		all+3*dead, 3*dead, dead), log)
	tenths := processed * 1000 / all
	require.Regexp(t, fmt.Sprintf(`Orders\n  seen +%d\n  passed +%d\n  dead-lettered +%d\n  success rate +%d.%d %%\n`, all, processed, dead, tenths/10, tenths%10), log)
	row := func(name string, a oracle.Aggregate) string {
		return fmt.Sprintf(`\n +%s +%d +%s +%s +%s +%s\n`, name, a.Count, a.Average, a.Min, a.Max, a.Sum)
	}
	require.Regexp(t, row("overall", sums.Overall), log)
	for product, a := range sums.Groups {
		require.Regexp(t, row(product, a), log)
	}
}
