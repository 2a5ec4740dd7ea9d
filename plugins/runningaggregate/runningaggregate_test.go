package runningaggregate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/summary"
)

// logBuffer is a log that can be taken away while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// rig is a processor with its log and its summary.
type rig struct {
	*processor
	log    *logBuffer
	report *summary.Report
}

func newRig(t require.TestingT, yaml string) rig {
	parsed, err := spec().ParseYAML(yaml, nil)
	require.NoError(t, err)
	conf, err := configFromParsed(parsed)
	require.NoError(t, err)
	r := rig{log: new(logBuffer), report: new(summary.Report)}
	logger := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	r.processor = newProcessor(conf, service.MockResources(service.MockResourcesOptUseLogger(service.NewLoggerFromSlog(logger))), r.report)
	return r
}

// process runs one batch and checks what holds for each: it is 1:1 and in order.
func (r rig) process(t require.TestingT, batch ...*service.Message) {
	out, err := r.ProcessBatch(context.Background(), batch)
	require.NoError(t, err)
	require.Len(t, out, 1)
	require.Len(t, out[0], len(batch))
	for i, msg := range out[0] {
		require.Same(t, batch[i], msg)
	}
}

func (r rig) summary(t require.TestingT) string {
	var b strings.Builder
	_, err := r.report.WriteTo(&b)
	require.NoError(t, err)
	return b.String()
}

func structured(v any) *service.Message {
	msg := service.NewMessage(nil)
	msg.SetStructured(v)
	return msg
}

func order(product string, price any) *service.Message {
	return structured(map[string]any{"product": product, "price": price})
}

const byProduct = "value: this.price\ngroup_by: this.product\n"

func meta(msg *service.Message, name string) any {
	v, _ := msg.MetaGetImmut(name)
	return v
}

func TestRunningFiguresInMetadata(t *testing.T) {
	r := newRig(t, byProduct)
	batch := service.MessageBatch{order("pen", 1.5), order("ink", 20.0), order("pen", 3.0)}
	r.process(t, batch...)
	for i, want := range []struct {
		average string
		count   int64
	}{{"1.5", 1}, {"10.75", 2}, {"8.1667", 3}} {
		require.Equal(t, want.average, meta(batch[i], "running_average"))
		require.Equal(t, want.count, meta(batch[i], "running_count"))
		require.NoError(t, batch[i].GetError())
	}
	b, err := json.Marshal(r.owner.Snapshot())
	require.NoError(t, err)
	require.JSONEq(t, `{"overall":{"count":3,"sum":"24.5","min":"1.5","max":"20","average":"8.1667"},"groups":{
		"ink":{"count":1,"sum":"20","min":"20","max":"20","average":"20"},
		"pen":{"count":2,"sum":"4.5","min":"1.5","max":"3","average":"2.25"}}}`, string(b))
}

func TestMetadataCanBeNamedAndSwitchedOff(t *testing.T) {
	named, off := order("pen", 1.0), order("pen", 1.0)
	newRig(t, byProduct+"metadata_prefix: price_").process(t, named)
	require.Equal(t, "1", meta(named, "price_average"))
	require.Equal(t, int64(1), meta(named, "price_count"))
	newRig(t, byProduct+`metadata_prefix: ""`).process(t, off)
	require.NoError(t, off.MetaWalkMut(func(key string, _ any) error { return errors.New(key) }))
}

func TestWhatIsCountedAndWhatIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		conf    string // byProduct if empty
		msg     *service.Message
		sum     string // of what was counted beside the two good messages
		group   string
		code    string
		message string
	}{
		"a float":                  {msg: order("a", 19.99), sum: "19.99", group: "a"},
		"a JSON number from bytes": {msg: service.NewMessage([]byte(`{"product":"a","price":19.990}`)), sum: "19.99", group: "a"},
		"an int":                   {msg: order("a", 7), sum: "7", group: "a"},
		"a decimal in a string":    {msg: order("a", "0.1"), sum: "0.1", group: "a"},
		"a negative number":        {msg: order("a", -2.5), sum: "-2.5", group: "a"},
		"no group":                 {msg: structured(map[string]any{"price": 1.0}), sum: "1", group: "none"},
		"an empty group":           {msg: order("", 1.0), sum: "1", group: "none"},
		"a group that is a number": {msg: structured(map[string]any{"product": 7, "price": 1.0}), sum: "1", group: "7"},
		"a nested path":            {conf: "value: this.a.b", msg: structured(map[string]any{"a": map[string]any{"b": 4.0}}), sum: "4"},
		"the message itself":       {conf: "{}", msg: service.NewMessage([]byte("4.5")), sum: "4.5"},
		"a Bloblang calculation":   {conf: "value: this.price * 2\ngroup_by: this.product.uppercase()", msg: order("a", 2.5), sum: "5", group: "A"},

		"a mapping to a string":  {conf: `value: '"%s".format(this.price)'`, msg: order("a", "2.50"), sum: "2.5"},
		"a metadata value":       {conf: "value: this.price\ngroup_by: '@none.or(this.product)'", msg: order("a", 2.5), sum: "2.5", group: "a"},
		"a group mapped to null": {conf: "value: this.price\ngroup_by: 'null'", msg: order("a", 2.5), sum: "2.5", group: "none"},
		"a deleted group":        {conf: "value: this.price\ngroup_by: deleted()", msg: order("a", 2.5), sum: "2.5", group: "none"},

		"a deleted value":    {conf: "value: deleted()", msg: order("a", 1.0), code: "value_not_a_number", message: `aggregating deleted(): parsing number: there is no value`},
		"NaN":                {msg: order("a", math.NaN()), code: "value_not_a_number", message: `aggregating this.price: parsing number NaN: it is not finite`},
		"an infinity":        {msg: order("a", math.Inf(1)), code: "value_not_a_number", message: `aggregating this.price: parsing number +Inf: it is not finite`},
		"a word":             {msg: order("a", "cheap"), code: "value_not_a_number", message: `aggregating this.price: parsing number "cheap": it is no decimal number`},
		"a bool":             {msg: order("a", true), code: "value_not_a_number", message: `aggregating this.price: parsing number: a value of type bool is none`},
		"a missing value":    {msg: structured(map[string]any{"product": "a"}), code: "value_not_a_number", message: `aggregating this.price: parsing number: there is no value`},
		"no object":          {msg: structured("text"), code: "value_not_a_number", message: `aggregating this.price: parsing number: there is no value`},
		"no JSON":            {msg: service.NewMessage([]byte("{")), code: "value_not_a_number", message: `aggregating this.price: reading message as JSON: unexpected EOF`},
		"a failing mapping":  {conf: "value: this.price.number()", msg: order("a", "x"), code: "value_not_a_number", message: `aggregating this.price.number(): failed assignment (line 1): field ` + "`this.price`" + `: strconv.ParseFloat: parsing "x": invalid syntax`},
		"a failing grouping": {conf: "value: this.price\ngroup_by: throw(\"no\")", msg: order("a", 1.0), code: "group_not_readable", message: `grouping by throw("no"): failed assignment (line 1): no`},
	} {
		t.Run(name, func(t *testing.T) {
			conf := tt.conf
			if conf == "" {
				conf = byProduct
			}
			r := newRig(t, conf)
			r.process(t, tt.msg)
			if tt.code == "" {
				require.NoError(t, tt.msg.GetError())
				require.Equal(t, tt.sum, r.owner.Snapshot().Overall().Sum().String())
				_, ok := r.owner.Snapshot().Group(tt.group)
				require.Equal(t, tt.group != "", ok)
				return
			}
			require.EqualError(t, tt.msg.GetError(), tt.message)
			class, code := failure.Of(tt.msg.GetError())
			require.Equal(t, failure.Permanent, class)
			require.Equal(t, tt.code, code)
			require.Zero(t, r.owner.Snapshot().Overall().Count())
			require.Nil(t, meta(tt.msg, "running_count"))
			require.Empty(t, r.summary(t))
		})
	}
}

func TestOneBadMessageLeavesTheOthersAlone(t *testing.T) {
	r := newRig(t, byProduct)
	before, bad, failed, after := order("a", 1.0), order("a", "x"), order("a", 4.0), order("a", 2.0)
	cause := errors.New("it failed before")
	failed.SetError(cause)
	r.process(t, before, bad, failed, after)
	require.NoError(t, before.GetError())
	require.Error(t, bad.GetError())
	require.Same(t, cause, failed.GetError(), "a message that failed before is untouched")
	require.Nil(t, meta(failed, "running_count"))
	require.NoError(t, after.GetError())
	require.Equal(t, int64(2), meta(after, "running_count"))
	require.Equal(t, "3", r.owner.Snapshot().Overall().Sum().String())
}

// Any batches on any number of threads give the exact figures of the good messages.
func TestFiguresAreExactFromManyThreads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, byProduct+"max_groups: 3")
		sum, count := new(big.Rat), int64(0)
		var wg sync.WaitGroup
		for range rapid.IntRange(1, 4).Draw(t, "threads") {
			var batches [][]*service.Message
			for range rapid.IntRange(0, 3).Draw(t, "batches") {
				var batch []*service.Message
				for range rapid.IntRange(0, 6).Draw(t, "messages") {
					cents := rapid.Int64Range(-1e6, 1e6).Draw(t, "cents")
					msg := order(fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "product")), float64(cents)/100)
					switch rapid.IntRange(0, 5).Draw(t, "fate") {
					case 0:
						msg.SetError(errors.New("before"))
					case 1:
						msg = order("x", math.NaN())
					default:
						sum.Add(sum, big.NewRat(cents, 100))
						count++
					}
					batch = append(batch, msg)
				}
				batches = append(batches, batch)
			}
			wg.Go(func() {
				for _, batch := range batches {
					_, _ = r.ProcessBatch(context.Background(), batch)
				}
			})
		}
		wg.Wait()
		require.NoError(t, r.Close(context.Background()))
		figures := r.owner.Snapshot()
		require.Equal(t, count, figures.Overall().Count())
		got, _ := new(big.Rat).SetString(figures.Overall().Sum().String())
		require.Zero(t, sum.Cmp(got))
		require.LessOrEqual(t, figures.Len(), 4)
		var grouped int64
		for _, p := range figures.All() {
			grouped += p.Count()
		}
		require.Equal(t, count, grouped)
	})
}

func TestWrongConfigNamesFieldValueAndWhatIsAllowed(t *testing.T) {
	for name, tt := range map[string]struct{ yaml, want string }{
		"an empty value":        {`value: ""`, `field value: it is empty, allowed is a Bloblang mapping such as this.price`},
		"a broken value":        {`value: "this.("`, `field value: "this.(" is not allowed, allowed is a Bloblang mapping: `},
		"a broken grouping":     {`group_by: "nope("`, `field group_by: "nope(" is not allowed, allowed is a Bloblang mapping: `},
		"no groups":             {`max_groups: 0`, `field max_groups: 0: want a number of at least 1`},
		"a negative interval":   {`log_interval: -1s`, `field log_interval: "-1s": want a duration such as 10s, or 0s for none`},
		"an interval of a word": {`log_interval: soon`, `field log_interval: "soon": want a duration such as 10s, or 0s for none`},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := spec().ParseYAML(tt.yaml, nil)
			require.NoError(t, err)
			_, err = configFromParsed(parsed)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestSummary(t *testing.T) {
	r := newRig(t, byProduct+"name: revenue")
	for _, msg := range []*service.Message{
		order("pen", 1.5), order("ink", 419.87), order("pen", "1234567890.123456789"), order("a\tb\x1b[31m", 0.25),
	} {
		r.process(t, msg)
	}
	require.NoError(t, r.Close(context.Background()))
	require.Equal(t, `Aggregates: revenue
                    count         average     min                   max                 total
  overall               4  308642077.9359    0.25  1234567890.123456789  1234568311.743456789
    "a\tb\x1b[31m"      1            0.25    0.25                  0.25                  0.25
    ink                 1          419.87  419.87                419.87                419.87
    pen                 2  617283945.8117     1.5  1234567890.123456789  1234567891.623456789
`, r.summary(t))
}

func TestSummaryOfNothingIsEmpty(t *testing.T) {
	require.Empty(t, newRig(t, byProduct).summary(t))
}

func BenchmarkProcessBatch(b *testing.B) {
	for name, conf := range map[string]string{
		"plain path":               byProduct,
		"plain path, no metadata":  byProduct + `metadata_prefix: ""`,
		"Bloblang, no metadata":    "value: this.price + 0\ngroup_by: this.product.string()\n" + `metadata_prefix: ""`,
		"no grouping, no metadata": "value: this.price\n" + `metadata_prefix: ""`,
	} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, conf+"\nlog_interval: 1h")
			var batch service.MessageBatch
			for i := range 100 {
				batch = append(batch, order([]string{"pen", "ink", "desk"}[i%3], float64(i)+0.99))
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.ProcessBatch(context.Background(), batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/message")
		})
	}
}

// The README shows what happens: its snippet is run on its messages, and its table is what comes
// out.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, snippet, _ := strings.Cut(string(readme), "```yaml\n")
	snippet, _, _ = strings.Cut(snippet, "```")
	var pipeline struct {
		Pipeline struct {
			Processors []map[string]yaml.Node
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(snippet), &pipeline))
	node := pipeline.Pipeline.Processors[0]["running_aggregate"]
	conf, err := yaml.Marshal(&node)
	require.NoError(t, err)

	r := newRig(t, string(conf))
	before := regexp.MustCompile("(?m)^\\| `(\\{.*?\\})` \\|").FindAllStringSubmatch(string(readme), -1)
	require.Len(t, before, 4)
	for _, message := range before {
		msg := service.NewMessage([]byte(message[1]))
		r.process(t, msg)
		if average := meta(msg, "running_average"); average != nil {
			require.Contains(t, string(readme), fmt.Sprintf("`running_average` = `%v`, `running_count` = %v", average, meta(msg, "running_count")))
		}
	}
	require.NoError(t, r.Close(t.Context()))
	require.Contains(t, string(readme), "```\n"+r.summary(t)+"```\n")
}
