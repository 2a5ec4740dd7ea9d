package orderencode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

const (
	doc    = `{"orderId":"A-1","product":"Pen","price":1.5}`
	sample = "\x06A-1" + "\x06Pen" + "\x00\x00\x00\x00\x00\x00\xf8\x3f"
)

func parse(t testing.TB, yaml string) (*processor, error) {
	t.Helper()
	conf, err := spec().ParseYAML(yaml, nil)
	require.NoError(t, err)
	return fromParsed(conf, service.MockResources())
}

func build(t testing.TB, yaml string) *processor {
	t.Helper()
	p, err := parse(t, yaml)
	require.NoError(t, err)
	return p
}

func run(t testing.TB, p *processor, msgs ...*service.Message) service.MessageBatch {
	t.Helper()
	out, err := p.ProcessBatch(context.Background(), msgs)
	require.NoError(t, err)
	require.Len(t, out, 1)
	require.Len(t, out[0], len(msgs))
	return out[0]
}

func content(t testing.TB, msg *service.Message) string {
	t.Helper()
	b, err := msg.AsBytes()
	require.NoError(t, err)
	return string(b)
}

func TestPlainOrders(t *testing.T) {
	parsed := service.NewMessage(nil)
	parsed.SetStructuredMut(map[string]any{"orderId": "A-1", "product": "Pen", "price": 1.5, "note": "left out"})
	for _, msg := range run(t, build(t, ``), service.NewMessage([]byte(doc)), parsed) {
		require.NoError(t, msg.GetError())
		require.Equal(t, sample, content(t, msg))
	}
}

// What was decoded by the schema that a header names is encoded by another: the header would make
// readers take it for the former.
func TestAHeaderWithASchemaIsDropped(t *testing.T) {
	msg, broken := service.NewMessage([]byte(doc)), service.NewMessage([]byte(`{}`))
	for _, m := range []*service.Message{msg, broken} {
		m.MetaSetMut("__value_schema_id", "\x00\x00\x00\x00\x07")
		m.MetaSetMut("__key_schema_id", "\x00\x00\x00\x00\x08")
	}
	run(t, build(t, ``), msg, broken)
	require.NoError(t, msg.GetError())
	_, kept := msg.MetaGetMut("__value_schema_id")
	require.False(t, kept)
	_, kept = msg.MetaGetMut("__key_schema_id")
	require.True(t, kept, "the key is as it was")
	require.Error(t, broken.GetError())
	_, kept = broken.MetaGetMut("__value_schema_id")
	require.True(t, kept, "its bytes are as they were")
}

func TestANewerSchemaAddsItsDefaults(t *testing.T) {
	msg := run(t, build(t, `schema_path: ../../config/schemas/history/order_v3.avsc`), service.NewMessage([]byte(doc)))[0]
	require.NoError(t, msg.GetError())
	require.Equal(t, sample+"\x06EUR"+"\x00", content(t, msg))
}

func TestFramedOrdersAgainstAFakeRegistry(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	yaml := fmt.Sprintf("registry: { url: %q }", fake.URL())

	unregistered := run(t, build(t, "register: false\n"+yaml), service.NewMessage([]byte(doc)))[0]
	requireCode(t, unregistered.GetError(), "schema_not_registered")
	require.Equal(t, doc, content(t, unregistered))

	// Ids are given out by the registry, not by subject: the one of ours is not the first.
	for _, subject := range []string{"payments-value", "orders-value"} {
		_, _, err := fake.RegisterSchema(subject, sr.Schema{Schema: fmt.Sprintf(`{"type":"record","name":%q,"fields":[]}`, subject[:6])})
		require.NoError(t, err)
	}
	p := build(t, yaml)
	batch := run(t, p, service.NewMessage([]byte(doc)), service.NewMessage([]byte(`{}`)), service.NewMessage([]byte(doc)))
	require.NoError(t, batch[0].GetError())
	require.Equal(t, "\x00\x00\x00\x00\x03"+sample, content(t, batch[0]))
	requireCode(t, batch[1].GetError(), "order_id_missing")
	require.Equal(t, content(t, batch[0]), content(t, batch[2]))
	registered, ok := fake.GetSchema("orders-value", 2)
	require.True(t, ok)
	require.JSONEq(t, schemas.Order, registered.Schema.Schema)

	require.Equal(t, sample, content(t, run(t, build(t, "framing: plain\n"+yaml), service.NewMessage([]byte(doc)))[0]))
	require.Equal(t, "\x00\x00\x00\x00\x03"+sample,
		content(t, run(t, build(t, "framing: confluent\nregister: false\n"+yaml), service.NewMessage([]byte(doc)))[0]))
}

func TestAnOutageThatOutlivesTheContextIsNoFailure(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	p := build(t, fmt.Sprintf("registry: { url: %q }", gone.URL))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	msg := service.NewMessage([]byte(doc))
	_, err := p.ProcessBatch(ctx, service.MessageBatch{msg})
	require.NoError(t, err)
	require.ErrorIs(t, msg.GetError(), context.Canceled)
	class, _ := failure.Of(msg.GetError())
	require.NotEqual(t, failure.Permanent, class)
	require.Equal(t, doc, content(t, msg))
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	class, got := failure.Of(err)
	require.Equal(t, failure.Permanent, class, "%v", err)
	require.Equal(t, code, got)
}

func TestWhatIsNoOrder(t *testing.T) {
	p := build(t, ``)
	for content, want := range map[string][2]string{
		`{"orderId":"A","product":"B","price":"abc"}`: {"price_invalid", `encoding order: field price: "abc" is a string, not a number`},
		`{"orderId":"A","product":"B"}`:               {"price_missing", `encoding order: field price: is missing`},
		`{"orderId":"A","product":"B","price":1e999}`: {"price_not_finite", `encoding order: field price: "1e999" is too large`},
		`{"product":"B","price":1}`:                   {"order_id_missing", `encoding order: field orderId: is missing`},
		`{"orderId":17,"product":"B","price":1}`:      {"order_id_invalid", `encoding order: field orderId: 17 is a number, not a string`},
		`{"orderId":"A","product":[],"price":1}`:      {"product_invalid", `encoding order: field product: the value is an array, not a string`},
		`[1]`:                                         {"not_an_order", `encoding order: the message is an array, an order is an object`},
		`{"orderId"`:                                  {"not_an_order", `encoding order: reading JSON: unexpected EOF`},
	} {
		batch := run(t, p, service.NewMessage([]byte(doc)), service.NewMessage([]byte(content)), service.NewMessage([]byte(doc)))
		requireCode(t, batch[1].GetError(), want[0])
		require.EqualError(t, batch[1].GetError(), want[1])
		got, err := batch[1].AsBytes()
		require.NoError(t, err)
		require.Equal(t, content, string(got), "the content stays")
		require.NoError(t, batch[0].GetError())
		require.NoError(t, batch[2].GetError())
	}

	notUTF8 := service.NewMessage(nil)
	notUTF8.SetStructuredMut(map[string]any{"orderId": "a\xff", "product": "B", "price": 1.0})
	requireCode(t, run(t, p, notUTF8)[0].GetError(), "order_id_invalid")
}

func TestBusinessRulesAreNotCheckedHere(t *testing.T) {
	msg := service.NewMessage(nil)
	msg.SetStructuredMut(map[string]any{"orderId": "", "product": " ", "price": math.NaN()})
	require.NoError(t, run(t, build(t, ``), msg)[0].GetError())
}

func TestAnEarlierErrorStays(t *testing.T) {
	msg := service.NewMessage([]byte(doc))
	first := errors.New("mapping: no such field")
	msg.SetError(first)
	require.Equal(t, first, run(t, build(t, ``), msg)[0].GetError())
	require.Equal(t, doc, content(t, msg))
}

func TestWrongConfig(t *testing.T) {
	strict := filepath.Join(t.TempDir(), "strict.avsc")
	require.NoError(t, os.WriteFile(strict, []byte(`{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},
		{"name":"product","type":"string"},{"name":"price","type":"double"},{"name":"customer","type":"string"}]}`), 0o600))
	recursive, large := filepath.Join(t.TempDir(), "recursive.avsc"), filepath.Join(t.TempDir(), "large.avsc")
	require.NoError(t, os.WriteFile(recursive, []byte(`{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},
		{"name":"product","type":"string"},{"name":"price","type":"double"},{"name":"next","type":"Order","default":{}}]}`), 0o600))
	require.NoError(t, os.WriteFile(large, bytes.Repeat([]byte(" "), 2<<20), 0o600))
	for yaml, want := range map[string]string{
		`schema_path: ` + recursive: `field schema_path: preparing encoder: the schema is recursive`,
		`schema_path: ` + large:     `field schema_path: "` + large + `": parsing schema: it has 2097152 bytes, at most 1048576 are read`,
		`framing: confluent`:        `field framing: "confluent" needs a registry, but registry.url is empty`,
		`framing: avro`:             `field framing: "avro" is not allowed, must be auto, plain or confluent`,
		"subject: ''\nregistry: { url: 'http://host:8081' }": `field subject: must not be empty when there is a registry`,
		`schema_path: no/such/order.avsc`:                    `field schema_path: open no/such/order.avsc: no such file or directory`,
		`schema_path: ` + strict:                             `field schema_path: preparing encoder: schema field customer: has no default and an order has no such field`,
		`registry: { url: "localhost:8081" }`:                `field registry.url: "localhost:8081" is not allowed, must be like http://host:8081 or https://host`,
	} {
		_, err := parse(t, yaml)
		require.EqualError(t, err, want, yaml)
	}
	require.NoError(t, build(t, ``).Close(t.Context()))
}

func BenchmarkEncode(b *testing.B) {
	const n = 1000
	p := build(b, ``)
	batch := make(service.MessageBatch, n)
	docs := make([]map[string]any, n)
	for i := range batch {
		batch[i] = service.NewMessage(nil)
		docs[i] = order.Order{ID: fmt.Sprintf("order-000001-%06d", i), Product: "Desk Lamp", Price: 129.99}.Map()
	}
	b.ReportAllocs()
	for b.Loop() {
		for i, msg := range batch {
			msg.SetStructured(docs[i])
		}
		_, _ = p.ProcessBatch(context.Background(), batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/msg")
}
