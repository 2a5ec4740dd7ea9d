package dlq

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/redrive"
)

// exhausted is a letter whose retries were used up.
func exhausted() deadletter.Letter {
	l := failed("transient", "simulated_failure", "Max retries exceeded: busy", 7)
	l.Attempts = 4
	l.AttemptTimes = []time.Time{at(0), at(1), at(3).Add(5 * time.Millisecond), at(7)}
	l.FirstFailedAt, l.LastFailedAt = at(0), at(7)
	return l
}

func TestShowTellsAllOfALetter(t *testing.T) {
	w := newWorld(t)
	r := dead(avro(t, "o-7", 19.99), exhausted(), deadletter.Spring)
	r.Headers = append([]kgo.RecordHeader{{Key: "trace", Value: []byte("of the order")}, {Key: "none"}}, r.Headers...)
	w.produce("orders-dlq", r)
	got := w.run("show", "orders/0/7")
	require.NoError(t, got.err)
	require.Equal(t, `letter       orders-dlq/0/0
state        open
id           orders/0/7
failure      simulated_failure (transient) at order_validate
error        Max retries exceeded: busy
group        6885658d: Max retries exceeded: busy
can be done  send again
record       orders/0/7, written 2026-11-22T09:00:00.000Z, read by orderflow
sent again   0 times before
rules now    passes

attempts
  1  2026-11-22T09:00:00.000Z
  2  2026-11-22T09:00:01.000Z  after 1s
  3  2026-11-22T09:00:03.005Z  after 2.005s
  4  2026-11-22T09:00:07.000Z  after 3.995s

order
  orderId  o-7
  product  Pen
  price    19.99
  key      key
  value, 16 bytes
    00000000  06 6f 2d 37 06 50 65 6e  3d 0a d7 a3 70 fd 33 40  |.o-7.Pen=...p.3@|

headers
  trace                              of the order
  none                               (null)
  kafka_dlt-exception-fqcn           orderflow.simulated_failure
  kafka_dlt-exception-cause-fqcn     orderflow.simulated_failure
  kafka_dlt-exception-message        Max retries exceeded: busy
  kafka_dlt-exception-stacktrace     Max retries exceeded: busy
  kafka_dlt-original-topic           orders
  kafka_dlt-original-partition       0x00000000
  kafka_dlt-original-offset          0x0000000000000007
  kafka_dlt-original-timestamp       0x000001a2027bd680
  kafka_dlt-original-timestamp-type  CreateTime
  kafka_dlt-original-consumer-group  orderflow
  dlq_id                             orders/0/7
  dlq_class                          transient
  dlq_code                           simulated_failure
  dlq_stage                          order_validate
  dlq_attempts                       4
  dlq_attempt_times                  2026-11-22T09:00:00.000Z,2026-11-22T09:00:01.000Z,2026-11-22T09:00:03.005Z,2026-11-22T09:00:07.000Z
  dlq_first_failed_at                2026-11-22T09:00:00.000Z
  dlq_last_failed_at                 2026-11-22T09:00:07.000Z
  dlq_redrives                       0
`, got.stdout)
}

func TestShowKnowsWhatBecameOfALetter(t *testing.T) {
	w := newWorld(t)
	again := failed("permanent", "price_not_positive", "price is 0", 30)
	again.ID, again.Redrives = "orders/0/7", 1
	w.produce("orders-dlq",
		dead(avro(t, "o-7", 0), exhausted(), deadletter.Native),
		dead(avro(t, "other", 1), failed("transient", "a", "b", 8), deadletter.Native),
		dead(avro(t, "o-7", 0), again, deadletter.Native))
	w.create(redrive.Topic("orders-dlq"))
	w.mark(0, redrive.Mark{Action: redrive.Redriven, ID: "orders/0/7"})

	both := `
all letters of orders/0/7
  orders-dlq/0/0  2026-11-22T09:00:07.000Z  simulated_failure   redriven 2026-11-22T09:01:30.000Z to orders, run run-1
  orders-dlq/0/2  2026-11-22T09:00:30.000Z  price_not_positive  open
`
	newest := w.run("show", "orders/0/7")
	require.NoError(t, newest.err)
	require.True(t, strings.HasPrefix(newest.stdout, "letter       orders-dlq/0/2\nstate        open\n"), newest.stdout)
	require.Contains(t, newest.stdout, "record       orders/0/30, ")
	require.Contains(t, newest.stdout, "sent again   1 times before\n")
	require.Contains(t, newest.stdout, "rules now    price_not_positive: field price: 0 is not above 0\n")
	require.True(t, strings.HasSuffix(newest.stdout, both), newest.stdout)

	first := w.run("show", "orders-dlq/0/0")
	require.Contains(t, first.stdout, "state        redriven 2026-11-22T09:01:30.000Z to orders, run run-1\n")
	require.True(t, strings.HasSuffix(first.stdout, both), "the place names one, its order has both")

	// Flags may stand behind the id.
	doc := w.run("show", "orders-dlq/0/0", "--json", "--max-price=5")
	require.NoError(t, doc.err)
	var got struct {
		Place, ID, State, Group, Advice string
		Mark                            redrive.Mark
		Timeline                        []struct {
			At     string
			WaitMS int64 `json:"wait_ms"`
		}
		Order struct {
			OrderID string
			Price   float64
		}
		Rules   struct{ Code string }
		Value   []byte
		Letters []struct{ Place, State string }
	}
	require.NoError(t, json.Unmarshal([]byte(doc.stdout), &got))
	require.Equal(t, []string{"orders-dlq/0/0", "orders/0/7", "redriven", "send again", "run-1"}, []string{got.Place, got.ID, got.State, got.Advice, got.Mark.Run})
	require.Len(t, got.Timeline, 4)
	require.EqualValues(t, 2005, got.Timeline[2].WaitMS)
	require.Equal(t, "o-7", got.Order.OrderID)
	require.Equal(t, "price_not_positive", got.Rules.Code)
	require.Equal(t, avro(t, "o-7", 0), got.Value)
	require.Len(t, got.Letters, 2)
	require.Equal(t, "open", got.Letters[1].State)
}

// A producer can write dlq_id and dlq_redrives into an order, and its dead letter keeps them.
func TestALetterIsNotTakenForThatOfAnotherOrder(t *testing.T) {
	w := newWorld(t)
	claims := func(offset int64, redrives int) deadletter.Letter {
		l := failed("permanent", "price_not_positive", "price is 0", offset)
		l.ID, l.Redrives = "orders/0/7", redrives
		return l
	}
	w.produce("orders-dlq",
		dead(avro(t, "o-7", 0), exhausted(), deadletter.Native),
		dead(avro(t, "o-7", 0), claims(30, 1), deadletter.Native),
		dead(avro(t, "forged", 0), claims(40, 3), deadletter.Native),
		dead(avro(t, "forged", 0), claims(41, 0), deadletter.Native))
	require.Contains(t, w.run("show", "orders/0/40").stdout, "sent again   0 times before\n", "nothing was ever sent again")
	require.Contains(t, w.run("show", "orders/0/30").stdout, "id           orders/0/30\n")

	w.create(redrive.Topic("orders-dlq"))
	w.mark(0, redrive.Mark{Action: redrive.Redriven, ID: "orders/0/7", SentAs: "orders/0/30", Redrives: 1})
	newest := w.run("show", "orders/0/7").stdout
	require.True(t, strings.HasPrefix(newest, "letter       orders-dlq/0/1\nstate        open\n"), newest)
	require.Contains(t, newest, "sent again   1 times before\n")
	require.NotContains(t, newest, "orders-dlq/0/2")
	for i, id := range []string{"orders/0/40", "orders/0/41"} {
		forged := w.run("show", id).stdout
		require.True(t, strings.HasPrefix(forged, fmt.Sprintf("letter       orders-dlq/0/%d\nstate        open\n", i+2)), forged)
		require.Contains(t, forged, "sent again   0 times before\n")
		require.NotContains(t, forged, "all letters of")
	}
	listed := w.run("list", "--json", "--where", `@dlq_redrives == "0" && this.orderId == "forged"`)
	require.Contains(t, listed.stdout, `"open":2`)
}

func TestTheRulesAreThoseOfNow(t *testing.T) {
	w := newWorld(t)
	w.produce("orders-dlq",
		dead(avro(t, "mended", 5), failed("permanent", "price_above_maximum", "5 is above the maximum of 4", 0), deadletter.Native),
		dead(avro(t, "nan", math.NaN()), failed("permanent", "price_not_finite", "NaN", 1), deadletter.Native))
	require.Contains(t, w.run("show", "orders/0/0").stdout, "rules now    passes\n")
	require.Contains(t, w.run("show", "orders/0/0", "--max-price", "4.5").stdout, "rules now    price_above_maximum: field price: 5 is above the maximum of 4.5\n")
	require.Contains(t, w.run("show", "orders/0/1").stdout, "  price    NaN\n")
	doc := w.run("show", "orders/0/1", "--json")
	require.NoError(t, doc.err)
	require.Contains(t, doc.stdout, `"price":"NaN"`, "JSON has no such number")
}

func TestALetterOfANewerSchema(t *testing.T) {
	registry, err := devbroker.StartRegistry(devbroker.RegistryOptions{Address: "127.0.0.1:0", CanRead: order.CanRead})
	require.NoError(t, err)
	t.Cleanup(func() { _ = registry.Close() })
	const file = "../../../config/schemas/history/order_v3.avsc"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	client, err := sr.NewClient(sr.URLs(registry.URL()))
	require.NoError(t, err)
	created, err := client.CreateSchema(t.Context(), "orders-value", sr.Schema{Schema: string(text)})
	require.NoError(t, err)
	schema, err := order.ParseSchema(string(text))
	require.NoError(t, err)
	newer, err := order.NewEncoder(schema)
	require.NoError(t, err)
	value, err := newer.Append(nil, order.Order{ID: "new", Product: "Pen", Price: 1})
	require.NoError(t, err)

	w := newWorld(t)
	w.produce("orders-dlq",
		dead(append(order.AppendFrame(nil, uint32(created.ID)), value...), failed("transient", "a", "b", 0), deadletter.Native),
		dead(value, failed("transient", "a", "b", 1), deadletter.Native))

	framed := w.run("show", "orders/0/0", "--registry", registry.URL())
	require.NoError(t, framed.err)
	require.Contains(t, framed.stdout, "  orderId  new\n")
	without := w.run("show", "orders/0/0")
	require.NoError(t, without.err)
	require.Contains(t, without.stdout, "which needs a registry")
	plain := w.run("show", "orders/0/1")
	require.NoError(t, plain.err)
	require.Contains(t, plain.stdout, "rules now    decode_failed: decoding order: ")
	withSchema := w.run("show", "orders/0/1", "--schema", file)
	require.Contains(t, withSchema.stdout, "  orderId  new\n")

	require.NoError(t, registry.Close())
	away := w.run("show", "orders/0/0", "--registry", registry.URL())
	require.NoError(t, away.err)
	require.Contains(t, away.stdout, "  cannot be decoded  decoding order: ")
	require.Contains(t, away.stdout, "the schema registry cannot be reached: ")
	require.Contains(t, away.stdout, "rules now    registry_unavailable: decoding order: ")
}

func TestAnythingCanBeShown(t *testing.T) {
	w := newWorld(t)
	huge := strings.Repeat("\xff\x1b[2J", 250_000)
	many := failed("\x1b", "\x07", "\x1b]0;title\x07\xff", 3)
	many.Attempts, many.AttemptTimes = 1000, nil
	for i := range 1000 {
		many.AttemptTimes = append(many.AttemptTimes, at(i))
	}
	w.produce("orders-dlq",
		&kgo.Record{Value: nil},
		&kgo.Record{Value: []byte{}, Key: []byte("\x1b[2J"), Headers: []kgo.RecordHeader{{Key: "\x1b[2J"}}},
		&kgo.Record{Value: []byte(huge), Headers: []kgo.RecordHeader{{Key: "large", Value: []byte(huge)}, {Key: "dlq_error", Value: []byte(huge)}}},
		dead(avro(t, "\x1b[2J", 1), many, deadletter.Native),
	)
	for place, says := range map[string][]string{
		"orders-dlq/0/0": {"the value is null", "null_value: decoding order: the value is null", "0, their times are not known", "record       -\n"},
		"orders-dlq/0/1": {"value, 0 bytes", "empty_value"},
		"orders-dlq/0/2": {"… 1249488 bytes more", "… (1250000 bytes)", "value, 1250000 bytes", "(truncated)"},
		"orders-dlq/0/3": {"  32  2026-11-22T09:00:31.000Z  after 1s\n  … 936 more\n  969  2026-11-22T09:16:08.000Z", "  1000  2026-11-22T09:16:39.000Z  after 1s\n"},
	} {
		r := w.run("show", place)
		require.NoError(t, r.err)
		for _, text := range says {
			require.Contains(t, r.stdout, text, place)
		}
		require.True(t, utf8.ValidString(r.stdout))
		require.False(t, strings.ContainsFunc(r.stdout, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }), place)
		require.Less(t, len(r.stdout), 30_000, place)

		doc := w.run("show", place, "--json")
		require.NoError(t, doc.err)
		require.True(t, json.Valid([]byte(doc.stdout)))
		require.NotContains(t, doc.stdout, "\x1b")
	}
}
