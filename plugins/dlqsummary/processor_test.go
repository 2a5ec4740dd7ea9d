package dlqsummary

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/summary"
	"github.com/orderflow/orderflow/internal/triage"
	"github.com/orderflow/orderflow/test/hostile"
)

const orders = `
id: root = this.orderId
about: root = this.product
value: root = this.price
`

func build(t testing.TB, yaml string) (*processor, *summary.Report) {
	t.Helper()
	conf, err := spec().ParseYAML(yaml, service.GlobalEnvironment())
	require.NoError(t, err)
	sum := &summary.Report{}
	p, err := fromParsed(conf, service.MockResources(), sum)
	require.NoError(t, err)
	return p, sum
}

// letter makes a dead letter of the class and error with this content.
func letter(class, code, text, content string, offset int64) *service.Message {
	at := time.Date(2026, 11, 22, 9, 0, int(offset), 0, time.UTC)
	l := deadletter.Letter{
		ID: fmt.Sprintf("orders/0/%d", offset), Class: class, Code: code, Error: text, Attempts: 4,
		LastFailedAt: at, Topic: "orders", Offset: offset,
	}
	m := service.NewMessage([]byte(content))
	for _, h := range l.Headers(deadletter.Native) {
		m.MetaSetMut(h.Name, string(h.Value))
	}
	return m
}

func feed(t testing.TB, p *processor, batch ...*service.Message) {
	t.Helper()
	out, err := p.ProcessBatch(t.Context(), batch)
	require.NoError(t, err)
	require.Equal(t, []service.MessageBatch{batch}, out)
}

func printed(sum *summary.Report) string {
	var b bytes.Buffer
	_, _ = sum.WriteTo(&b)
	return b.String()
}

func TestSummary(t *testing.T) {
	p, sum := build(t, orders)
	require.Zero(t, p.tally.groups.Len())
	feed(t, p,
		letter("transient", "simulated", "Max retries exceeded: Simulated processing failure", `{"orderId":"o-1","product":"apple","price":0.1}`, 1),
		letter("permanent", "price", "price is 0", `{"orderId":"o-2","product":"pear","price":0}`, 2),
		letter("permanent", "decode", "no Avro", "\x00\xff", 3),
	)
	feed(t, p, letter("transient", "simulated", "Max retries exceeded: Simulated processing failure", `{"orderId":"o-4","product":"apple","price":"0.2"}`, 4))
	require.Equal(t, `Dead letters
  count        4
  total value  0.3
  undecodable  1
  failures
    2  simulated  transient  Max retries exceeded: Simulated processing failure
    1  price      permanent  price is *
    1  decode     permanent  no Avro
  groups
    a8d538ce  simulated  50.0 %  first 2026-11-22T09:00:01Z  last 2026-11-22T09:00:04Z  40.0/min  example o-1         value 0.3  send again
    045c806e  price      25.0 %  first 2026-11-22T09:00:02Z  last 2026-11-22T09:00:02Z  -         example o-2         value 0    mend
    49fbabf7  decode     25.0 %  first 2026-11-22T09:00:03Z  last 2026-11-22T09:00:03Z  -         example orders/0/3  value -    none
  orders
    o-1         apple  0.1  4 attempts  Max retries exceeded: Simulated processing failure
    o-2         pear   0    4 attempts  price is 0
    orders/0/3  -      -    4 attempts  no Avro
    o-4         apple  0.2  4 attempts  Max retries exceeded: Simulated processing failure
`, printed(sum))
}

// Whatever is in headers and orders: the lines of the log are seen, and the summary has a line for
// each thing that it has to tell.
func TestHostileLettersAreShownSafely(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, sum := build(t, orders)
		text := hostile.Text()
		about := hostile.UTF8().Draw(rt, "product")
		content, err := json.Marshal(map[string]any{"orderId": hostile.UTF8().Draw(rt, "id"), "product": about, "price": 1e308})
		require.NoError(rt, err)
		m := letter("permanent", "code", "text", string(content), 1)
		for _, name := range []string{"dlq_class", "dlq_code", "dlq_error", "dlq_id"} {
			m.MetaSetMut(name, text.Draw(rt, name))
		}
		feed(t, p, m)
		summary := printed(sum)
		hostile.Check(rt, summary)
		require.Equal(rt, 9, strings.Count(summary, "\n"), summary)
		require.Contains(rt, summary, "  total value  1e308\n")
		for _, line := range []string{p.tally.line(), announce(p.tally.groups.Sorted()[0])} {
			hostile.Check(rt, line)
			require.NotContains(rt, line, "\n")
		}
	})
}

func TestEachNewGroupIsWarnedOfOnce(t *testing.T) {
	var lines bytes.Buffer
	b := service.NewStreamBuilder()
	b.SetLogger(slog.New(slog.NewTextHandler(&lines, nil)))
	require.NoError(t, b.AddProcessorYAML("dlq_summary: {value: root = this.price, max_groups: 2, log_interval: 0s}"))
	require.NoError(t, b.AddBatchConsumerFunc(func(context.Context, service.MessageBatch) error { return nil }))
	send, err := b.AddProducerFunc()
	require.NoError(t, err)
	stream, err := b.Build()
	require.NoError(t, err)
	go func() { _ = stream.Run(context.Background()) }()
	for i := range int64(4) {
		require.NoError(t, send(t.Context(), letter("permanent", "price", fmt.Sprintf("price is %d\x1b", i), `{"price":1}`, 4-i)))
		require.NoError(t, send(t.Context(), letter("permanent", fmt.Sprint("code-", i), "bad", `{"price":1}`, i)))
	}
	require.NoError(t, stream.StopWithin(time.Minute))
	require.Equal(t, 3, strings.Count(lines.String(), "level=WARN"), "two groups, and one for the rest: %s", lines.String())
	require.Contains(t, lines.String(), "New group of dead letters: 045c806e, price (permanent), price is *, first seen 2026-11-22T09:00:04Z, example orders/0/4; what can be done: mend")
	summary.Default.WriteTo(&bytes.Buffer{}) //nolint:errcheck // only empties what the stream added
}

func TestGroupsAreTheSameInEveryDialect(t *testing.T) {
	p, _ := build(t, "")
	l := deadletter.Letter{Class: "permanent", Code: "price", Error: "price is 0", Topic: "orders", Offset: 1}
	for _, d := range deadletter.Dialects {
		m := service.NewMessage([]byte("x"))
		for _, h := range l.Headers(d) {
			m.MetaSetMut(h.Name, string(h.Value))
		}
		feed(t, p, m)
	}
	groups := p.tally.groups.Sorted()
	require.Len(t, groups, 1)
	require.EqualValues(t, len(deadletter.Dialects), groups[0].Count)
	require.Equal(t, "orders/0/1", groups[0].Example)
}

func TestALetterWithoutATimeFailedWhenItWasWritten(t *testing.T) {
	p, _ := build(t, "")
	m := service.NewMessage([]byte("x"))
	m.MetaSetMut("kafka_timestamp_ms", int64(1_700_000_000_123))
	feed(t, p, m)
	require.Equal(t, time.UnixMilli(1_700_000_000_123), p.tally.groups.Sorted()[0].First)
}

func TestNothingSeenNothingPrinted(t *testing.T) {
	_, sum := build(t, orders)
	require.Empty(t, printed(sum))
}

func TestAnythingPasses(t *testing.T) {
	p, sum := build(t, orders)
	failed := service.NewMessage([]byte("x"))
	failed.SetError(fmt.Errorf("bad"))
	feed(t, p,
		service.NewMessage(nil),
		failed,
		letter("permanent", "price", "NaN", `{"orderId":"o","price":"NaN"}`, 1),
		letter("permanent", "price", "huge", `{"orderId":"o","price":1e300000}`, 2),
		letter("permanent", "price", "object", `{"orderId":{"a":1},"price":{}}`, 3),
		letter("a class", "\x1b[2J", "\x1b[31mred\nline", `{"price":null}`, 4),
	)
	text := printed(sum)
	require.Contains(t, text, "count        6")
	require.Contains(t, text, "undecodable  5")
	require.NotContains(t, text, "\x1b")
	require.NotContains(t, text, "total value")
	require.Contains(t, text, "unknown")
}

func TestWithoutValueAndWithDeletedRoots(t *testing.T) {
	p, sum := build(t, "id: root = deleted()\nvalue: root = deleted()")
	feed(t, p, letter("permanent", "price", "bad", "{}", 7))
	require.Contains(t, printed(sum), "orders/0/7  -  -  4 attempts  bad")

	p, sum = build(t, "")
	feed(t, p, letter("permanent", "price", "bad", "no JSON", 7))
	text := printed(sum)
	require.Contains(t, text, "orders/0/7")
	require.NotContains(t, text, "undecodable")
}

func TestMemoryIsBounded(t *testing.T) {
	p, sum := build(t, orders+"max_groups: 2\nmax_orders: 3")
	for i := range int64(10) {
		feed(t, p, letter("permanent", "price", "error "+strings.Repeat("x", int(i)), `{"orderId":"o","price":1}`, i))
	}
	require.Equal(t, 2, p.tally.groups.Len())
	require.Equal(t, triage.Other, p.tally.groups.Sorted()[0].ID)
	text := printed(sum)
	require.Contains(t, text, "total value  10\n")
	require.Contains(t, text, "    and 7 more\n")
	require.Contains(t, text, "8  other")

	p, sum = build(t, orders+"max_orders: 0")
	feed(t, p, letter("permanent", "price", strings.Repeat("x", 100_000), `{"orderId":"o","price":1}`, 1))
	require.NotContains(t, printed(sum), "  orders\n")
	require.LessOrEqual(t, len(p.tally.groups.Sorted()[0].Pattern), maxKept)
}

func TestTheTotalIsExactInAnyOrderAndFromAnyThread(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		cents := rapid.SliceOfN(rapid.Int64Range(-1_000_000, 1_000_000_000), 1, 30).Draw(r, "cents")
		p, _ := build(t, orders)
		want := new(big.Rat)
		var wg sync.WaitGroup
		for i, c := range cents {
			want.Add(want, big.NewRat(c, 100))
			price := fmt.Sprintf("%s%d.%02d", map[bool]string{true: "-"}[c < 0], max(c, -c)/100, max(c, -c)%100)
			wg.Go(func() {
				_, _ = p.ProcessBatch(context.Background(), service.MessageBatch{letter("permanent", "c", "e", fmt.Sprintf(`{"orderId":"o","price":%s}`, price), int64(i))})
			})
		}
		wg.Wait()
		got, ok := new(big.Rat).SetString(p.tally.groups.Value().Sum().String())
		require.True(t, ok)
		require.Zero(t, want.Cmp(got), "%v %v", want, got)
		require.EqualValues(t, len(cents), p.tally.groups.Count())
	})
}

func TestTheStateIsLoggedAtMostOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		b := service.NewStreamBuilder()
		b.SetLogger(slog.New(slog.NewTextHandler(&lines, nil)))
		require.NoError(t, b.AddProcessorYAML("dlq_summary: {value: root = this.price, log_interval: 10s}"))
		require.NoError(t, b.AddBatchConsumerFunc(func(context.Context, service.MessageBatch) error { return nil }))
		send, err := b.AddProducerFunc()
		require.NoError(t, err)
		stream, err := b.Build()
		require.NoError(t, err)
		go func() { _ = stream.Run(context.Background()) }()
		for i := range int64(25) { // one each second: lines at 0, 10 and 20 s, and at 30 s what came last
			require.NoError(t, send(t.Context(), letter("permanent", "price", "bad", `{"price":1.5}`, i)))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		require.NoError(t, stream.StopWithin(time.Minute))
		require.Equal(t, 4, strings.Count(lines.String(), "Dead letters:"), lines.String())
		require.Contains(t, lines.String(), "Dead letters: 25 in 1 groups, total value 37.5, most: 25 × bad")
		summary.Default.WriteTo(&bytes.Buffer{}) //nolint:errcheck // only empties what the stream added
	})
}

func TestWrongConfigurationNamesTheFieldTheValueAndWhatIsAllowed(t *testing.T) {
	for yaml, want := range map[string]string{
		"max_groups: 0":      "field max_groups: 0: want a number of at least 1",
		"max_orders: -1":     "field max_orders: -1: want a number of at least 0",
		"log_interval: soon": `field log_interval: "soon": want a duration such as 10s, or 0s for none`,
		"log_interval: -1s":  `field log_interval: "-1s": want a duration such as 10s, or 0s for none`,
		"value: 'root = ('":  "'value'",
		"id: 'root = ('":     "'id'",
	} {
		conf, err := spec().ParseYAML(yaml, service.GlobalEnvironment())
		if err == nil {
			_, err = fromParsed(conf, service.MockResources(), &summary.Report{})
		}
		require.ErrorContains(t, err, want, yaml)
	}
}

func FuzzAnythingPasses(f *testing.F) {
	p, _ := build(f, orders)
	f.Add([]byte(`{"orderId":"o","price":1e400}`), "permanent", "3")
	f.Fuzz(func(t *testing.T, content []byte, class, attempts string) {
		m := service.NewMessage(content)
		m.MetaSetMut("dlq_class", class)
		m.MetaSetMut("dlq_attempts", attempts)
		feed(t, p, m)
	})
}

func BenchmarkDeadLetters(b *testing.B) {
	p, _ := build(b, orders)
	m := letter("transient", "simulated", "Simulated processing failure", `{"orderId":"o-1","product":"apple","price":0.1}`, 1)
	b.ReportAllocs()
	for b.Loop() {
		feed(b, p, m.Copy())
	}
}
