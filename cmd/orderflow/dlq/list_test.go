package dlq

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/redrive"
)

// three fills the topic with letters of three causes, in several dialects.
func three(t testing.TB, w *world) {
	t.Helper()
	price := func(offset int64) deadletter.Letter {
		return failed("permanent", "price_not_positive", fmt.Sprintf(`validating order "o-%d": field price: 0 is not above 0`, offset), offset)
	}
	w.produce("orders-dlq",
		dead(avro(t, "o-0", 10.5), failed("transient", "simulated_failure", "Max retries exceeded: busy", 0), deadletter.Native),
		dead(avro(t, "o-1", -0.1), price(1), deadletter.Native),
		dead(avro(t, "o-2", -0.2), price(2), deadletter.Spring),
		dead(avro(t, "o-3", -0.3), price(3), deadletter.Connect),
		dead([]byte("no Avro"), failed("permanent", "decode_failed", "decoding order: 7 bytes: end", 4), deadletter.SmallRye),
		dead(avro(t, "o-5", -0.4), price(5), deadletter.Streams),
	)
}

const threeGroups = `6 open dead letters on orders-dlq in 3 groups, total value 9.5

group     count  share   rate      first seen            last seen             value  example     can be done  code
d7ae4420  4      66.7 %  60.0/min  2026-11-22T09:00:01Z  2026-11-22T09:00:05Z  -1     orders/0/1  mend         price_not_positive (permanent)
    validating order *: field price: * is not above *
6885658d  1      16.7 %  -         2026-11-22T09:00:00Z  2026-11-22T09:00:00Z  10.5   orders/0/0  send again   simulated_failure (transient)
    Max retries exceeded: busy
b02579cc  1      16.7 %  -         2026-11-22T09:00:04Z  2026-11-22T09:00:04Z  -      orders/0/4  none         decode_failed (permanent)
    decoding order: * bytes: end
`

func TestListGroupsOpenLettersByCause(t *testing.T) {
	w := newWorld(t)
	r := w.run("list")
	require.Equal(t, "0 open dead letters on orders-dlq in 0 groups\n", r.stdout)
	r = w.run("list", "--json")
	require.JSONEq(t, `{"open":0,"groups":[]}`, r.stdout)

	three(t, w)
	r = w.run("list")
	require.NoError(t, r.err)
	require.Equal(t, threeGroups, r.stdout)
	require.Empty(t, r.stderr)

	w.create(redrive.Topic("orders-dlq"))
	w.mark(0, redrive.Mark{Action: redrive.Redriven, ID: "orders/0/7"})
	w.mark(3, redrive.Mark{Action: redrive.Parked, ID: "orders/0/7"})
	r = w.run("list", "--json")
	require.NoError(t, r.err)
	require.JSONEq(t, `{"open":4,"groups":[
		{"id":"d7ae4420","class":"permanent","code":"price_not_positive","pattern":"validating order *: field price: * is not above *",
		 "count":3,"share":0.75,"rate":45,"value":"-0.7","first_seen":"2026-11-22T09:00:01.000Z","last_seen":"2026-11-22T09:00:05.000Z",
		 "example":"orders/0/1","advice":"mend"},
		{"id":"b02579cc","class":"permanent","code":"decode_failed","pattern":"decoding order: * bytes: end","count":1,"share":0.25,"rate":0,"value":"0",
		 "first_seen":"2026-11-22T09:00:04.000Z","last_seen":"2026-11-22T09:00:04.000Z","example":"orders/0/4","advice":"none"}]}`, r.stdout)
}

func TestListChooses(t *testing.T) {
	w := newWorld(t)
	three(t, w)
	open := func(where string) (n int, stderr string) {
		r := w.run("list", "--json", "--where", where)
		require.NoError(t, r.err)
		var doc struct{ Open int }
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
		return doc.Open, r.stderr
	}
	for where, want := range map[string]int{
		`@dlq_code == "price_not_positive"`:             4,
		`this.price.or(0) < -0.2`:                       2,
		`this == null`:                                  1,
		`@dlq_class == "permanent" && this != null`:     4,
		`@."kafka_dlt-original-topic" == "orders"`:      1,
		`@dlq_last_failed_at.ts_unix() > 1795338002`:    3,
		`@dlq_id == "orders/0/3" && @dlq_offset == "3"`: 1,
		`false`: 0,
		`root = @dlq_error.contains("field price") && this.price < -0.3`: 1,
	} {
		n, stderr := open(where)
		require.Equal(t, want, n, where)
		require.Empty(t, stderr, where)
	}
	n, stderr := open(`this.price < 0`)
	require.Equal(t, 4, n)
	require.Contains(t, stderr, "--where failed on 1 dead letters, which are left out; the first: asking of orders-dlq/0/4: ")
}

func TestListOfSingleLetters(t *testing.T) {
	w := newWorld(t)
	three(t, w)
	r := w.run("list", "--all", "--where", `@dlq_code != "price_not_positive"`)
	require.NoError(t, r.err)
	require.Equal(t, `2 open dead letters on orders-dlq in 2 groups, total value 10.5

id          place           failed at             group     order  value  code               error
orders/0/0  orders-dlq/0/0  2026-11-22T09:00:00Z  6885658d  o-0    10.5   simulated_failure  Max retries exceeded: busy
orders/0/4  orders-dlq/0/4  2026-11-22T09:00:04Z  b02579cc  -      -      decode_failed      decoding order: 7 bytes: end
`, r.stdout)
	r = w.run("list", "--all", "--json", "--where", `@dlq_code == "simulated_failure"`)
	var doc struct{ Letters json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	require.JSONEq(t, `[{"id":"orders/0/0","place":"orders-dlq/0/0","group":"6885658d","class":"transient","code":"simulated_failure",
		"error":"Max retries exceeded: busy","attempts":1,"redrives":0,"failed_at":"2026-11-22T09:00:00.000Z",
		"order":{"orderId":"o-0","product":"Pen","price":10.5}}]`, string(doc.Letters))
}

// What Spring for Apache Kafka and Kafka Connect write by themselves: no header of ours.
func TestListOfLettersOfOtherSystems(t *testing.T) {
	w := newWorld(t)
	header := func(pairs ...string) (headers []kgo.RecordHeader) {
		for i := 0; i < len(pairs); i += 2 {
			headers = append(headers, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return headers
	}
	offset := string(binary.BigEndian.AppendUint64(nil, 4711))
	w.produce("orders-dlq",
		&kgo.Record{Value: avro(t, "a", 1), Headers: header("kafka_dlt-exception-fqcn", "org.springframework.kafka.listener.ListenerExecutionFailedException",
			"kafka_dlt-exception-cause-fqcn", "java.lang.IllegalStateException", "kafka_dlt-exception-message", "no stock of sku-17",
			"kafka_dlt-original-topic", "shop", "kafka_dlt-original-partition", "\x00\x00\x00\x02", "kafka_dlt-original-offset", offset)},
		&kgo.Record{Value: avro(t, "b", 2), Headers: header("__connect.errors.topic", "shop", "__connect.errors.partition", "1", "__connect.errors.offset", "8",
			"__connect.errors.exception.class.name", "org.apache.kafka.connect.errors.DataException", "__connect.errors.exception.message", "bad")},
		&kgo.Record{Value: avro(t, "c", 3)},
	)
	r := w.run("list")
	require.NoError(t, r.err)
	require.Contains(t, r.stdout, "3 open dead letters on orders-dlq in 3 groups, total value 6\n")
	require.Regexp(t, `2026-11-22T09:00:00Z +1 +shop/2/4711 +look +java.lang.IllegalStateException \(unknown\)\n    no stock of \*\n`, r.stdout)
	require.Regexp(t, `2026-11-22T09:00:01Z +2 +shop/1/8 +look +org.apache.kafka.connect.errors.DataException \(unknown\)\n    bad\n`, r.stdout)
	require.Regexp(t, `3 +orders-dlq/0/2 +look +unknown \(unknown\)\n    -\n`, r.stdout)
}

func TestAnythingCanBeListed(t *testing.T) {
	w := newWorld(t)
	w.produce("orders-dlq",
		&kgo.Record{Value: nil},
		&kgo.Record{Value: []byte{}, Headers: []kgo.RecordHeader{{Key: "dlq_code"}, {Key: "", Value: []byte("x")}}},
		dead(avro(t, "\x1b[31mred\n\u202e", 1), failed("\x1b[2J", "\x1b]0;title\x07", "\xff\x1b[2J\r\n", 2), deadletter.Native),
		&kgo.Record{Value: []byte("x"), Headers: []kgo.RecordHeader{{Key: "dlq_error", Value: []byte(strings.Repeat("\xff\x00 7", 250_000))}}},
	)
	for _, args := range [][]string{{"list"}, {"list", "--all"}, {"list", "--where", "@dlq_class != null || true"}} {
		r := w.run(args...)
		require.NoError(t, r.err)
		require.Contains(t, r.stdout, "4 open dead letters")
		require.NotContains(t, r.stdout, "\x1b")
		require.NotContains(t, r.stdout, "\x07")
		require.NotContains(t, r.stdout, "\r")
		require.NotContains(t, r.stdout, "\u202e")
		require.Less(t, len(r.stdout), 5000)
	}
	r := w.run("list", "--all", "--json")
	require.NoError(t, r.err)
	require.True(t, json.Valid([]byte(r.stdout)))
	require.NotContains(t, r.stdout, "\x1b")
}

func TestCallsOfTheCommands(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no command", nil, exit.Wrong, "no command given"},
		{"an argument of list", []string{"list", "x"}, exit.Wrong, `unexpected argument "x"`},
		{"a wrong query", []string{"list", "--where", "this.price >"}, exit.Wrong, "flag --where: "},
		{"no time", []string{"list", "--timeout", "0s"}, exit.Wrong, "flag --timeout: 0s, expected a duration above 0"},
		{"no schema file", []string{"list", "--schema", "nowhere.avsc"}, exit.Wrong, "flag --schema: open nowhere.avsc"},
		{"a file that is no schema", []string{"list", "--schema", "list_test.go"}, exit.Wrong, "flag --schema: parsing schema"},
		{"no topic", []string{"list", "--dlq-topic", "nowhere"}, exit.Failed, `topic "nowhere" does not exist`},
		{"no id", []string{"show"}, exit.Wrong, "0 arguments, expected one ID"},
		{"two ids", []string{"show", "a", "b"}, exit.Wrong, "2 arguments, expected one ID"},
		{"an unknown flag behind the id", []string{"show", "a", "--jsn"}, exit.Wrong, "flag provided but not defined: --jsn"},
		{"a letter that is not there", []string{"show", "orders/0/1"}, exit.Failed, "there is no such letter"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := test.args
			if len(args) > 0 && test.code == exit.Failed {
				args = append(args, "--brokers", w.broker.Address())
			}
			r := run(t, args...)
			require.Equal(t, test.code, r.status, "%v", r.err)
			require.ErrorContains(t, r.err, test.says)
			require.Empty(t, r.stdout)
		})
	}
}

// The target is below 3 s for 10,000 letters.
func BenchmarkListOfTenThousand(b *testing.B) {
	w := newWorld(b)
	var records []*kgo.Record
	for i := range int64(10_000) {
		l := failed("transient", "simulated_failure", "Max retries exceeded: Simulated processing failure", i)
		value := avro(b, fmt.Sprint("order-", i), 1.5)
		switch i % 3 {
		case 1:
			l = failed("permanent", "price_not_positive", fmt.Sprintf("validating order \"order-%d\": field price: -%d is not above 0", i, i), i)
		case 2:
			l = failed("permanent", "decode_failed", fmt.Sprintf("decoding order: %d bytes: field orderId: end", i), i)
			value = []byte("no Avro")
		}
		records = append(records, dead(value, l, deadletter.Native))
	}
	w.produce("orders-dlq", records...)
	for b.Loop() {
		r := w.run("list", "--json", "--where", `@dlq_code != "x" && this.or({}).price.or(0) >= 0`)
		require.NoError(b, r.err)
		require.Contains(b, r.stdout, `{"open":10000,`)
	}
}
