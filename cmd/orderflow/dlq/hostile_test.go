package dlq

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/redpanda-data/connect/v4/public/components/prometheus" // as main does
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/order"
	_ "github.com/orderflow/orderflow/plugins/all"
	"github.com/orderflow/orderflow/test/hostile"
)

// Nothing that a letter holds reaches the screen as anything but signs that are seen, by whatever
// command; and each letter stays one row.
func TestNoLetterMovesTheCursor(t *testing.T) {
	w := newWorld(t)
	w.create("orders")
	schema, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	encoder, err := order.NewEncoder(schema)
	require.NoError(t, err)

	var letters []*kgo.Record
	texts, products := hostile.Text(), hostile.All()
	for i := range len(products) + 60 {
		product, text := hostile.UTF8().Example(i), texts.Example(2*i)
		if i < len(products) {
			product, text = products[i], products[i]
		}
		value, err := encoder.Append(nil, order.Order{ID: product, Product: product, Price: []float64{1, 1e308, 1e-9}[i%3]})
		require.NoError(t, err)
		l := failed(text, text, texts.Example(3*i)+text, int64(i))
		l.ID = texts.Example(5*i) + fmt.Sprint(i)
		r := dead(value, l, deadletter.Native)
		r.Key = []byte(text)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: product, Value: []byte(text)}, kgo.RecordHeader{Key: "dlq_stage", Value: []byte(text)})
		letters = append(letters, r)
	}
	w.produce("orders-dlq", letters...)
	n := len(letters)

	plain := w.run("list", "--all")
	require.NoError(t, plain.err)
	require.Equal(t, n+3, strings.Count(plain.stdout, "\n"))
	groups := w.run("list")
	require.NoError(t, groups.err)
	results := []result{plain, groups, w.run("list", "--all", "--json"),
		w.run("list", "--where", "this.product.number() > 0"), w.run("list", "--where", "this.product + 5 > 0"),
		w.run("redrive", "--dry-run"), w.run("redrive", "--dry-run", "--json", "--max-redrives", "0"),
		w.run("redrive", "--dry-run", "--where", "this.product.number() > 0"), w.run("redrive", "--dry-run", "--map", `root.price = "free"`),
	}
	for i := range 40 {
		place := fmt.Sprintf("orders-dlq/0/%d", i*n/40)
		results = append(results, w.run("show", place), w.run("show", place, "--json"))
	}
	for _, r := range results {
		require.NoError(t, r.err)
		hostile.Check(t, r.stdout)
		hostile.Check(t, r.stderr)
		require.NotEmpty(t, r.stdout)
	}
	var document struct {
		Letters []struct{ Order struct{ Product string } }
	}
	require.NoError(t, json.Unmarshal([]byte(results[2].stdout), &document))
	require.Len(t, document.Letters, n)
	for i, product := range products {
		require.Equal(t, product, document.Letters[i].Order.Product, "a document is exact")
	}
}

// A broker wrote the letter for a share group: it has headers alone. Its timestamp and that of the
// next are none.
func TestALetterWithoutItsRecordOrATime(t *testing.T) {
	w := newWorld(t)
	w.create("orders")
	share := []kgo.RecordHeader{{Key: "__dlq.errors.topic", Value: []byte("orders")}, {Key: "__dlq.errors.partition", Value: []byte("0")},
		{Key: "__dlq.errors.offset", Value: []byte("7")}, {Key: "__dlq.errors.message", Value: []byte("Offset rejected by client.")}}
	w.produce("orders-dlq", &kgo.Record{Headers: share, Timestamp: time.UnixMilli(-1)})
	w.produce("orders-dlq",
		&kgo.Record{Value: avro(t, "o-1", 5), Headers: []kgo.RecordHeader{{Key: "kafka_dlt-original-topic", Value: []byte("orders")},
			{Key: "kafka_dlt-original-timestamp", Value: []byte("\x7f\xff\xff\xff\xff\xff\xff\xff")}}, Timestamp: time.UnixMilli(253402300800000)})

	all := w.run("list", "--all")
	require.NoError(t, all.err)
	require.Regexp(t, `\norders/0/7 +orders-dlq/0/0  -  +[0-9a-f]{8}  -  +-  +unknown  Offset rejected by client\.\n`, all.stdout)
	require.Regexp(t, `\norders-dlq/0/1 +orders-dlq/0/1  -  +[0-9a-f]{8}  o-1  +5  +unknown  -\n`, all.stdout)
	groups := w.run("list")
	require.Regexp(t, `  50\.0 %  -     -           -          -      orders/0/7 +none +unknown \(unknown\)\n`, groups.stdout)
	var document struct {
		Groups []struct {
			Advice    string
			FirstSeen *string `json:"first_seen"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(w.run("list", "--json").stdout), &document))
	require.Equal(t, "", *document.Groups[0].FirstSeen)

	show := w.run("show", "orders/0/7")
	require.Contains(t, show.stdout, "can be done  none\n")
	require.Contains(t, show.stdout, "\nattempts\n  0, their times are not known\n")
	require.Contains(t, show.stdout, "  cannot be decoded  the letter has no record, a share group leaves it out unless errors.deadletterqueue.copy.record.enable is set: while its topic keeps it, it is at orders/0/7\n")
	require.Contains(t, w.run("show", "orders-dlq/0/1").stdout, "\nrecord       -\n")
	require.NoError(t, w.run("show", "orders-dlq/0/1", "--json").err)

	dry := w.run("redrive", "--dry-run", "--where", `@dlq_id == "orders/0/7"`)
	require.NoError(t, dry.err)
	require.Contains(t, dry.stdout, "       1  matched\n       0  would be sent\n       0  would be parked\n       1  refused: record_missing\n")
}
