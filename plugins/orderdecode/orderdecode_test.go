package orderdecode

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/bounded"
	"github.com/orderflow/orderflow/test/carried"
)

const sample = "\x06A-1" + "\x06Pen" + "\x00\x00\x00\x00\x00\x00\xf8\x3f"

var sampleDoc = map[string]any{"orderId": "A-1", "product": "Pen", "price": 1.5}

// known is a registry with a fixed memory: id 7 is the current schema, 9 cannot be reached, the
// others are unknown.
type known struct{ asked int }

func (k *known) Decoder(ctx context.Context, id uint32) (*order.Decoder, error) {
	k.asked++
	switch id {
	case 7:
		s, err := order.ParseSchema(schemas.Order)
		if err != nil {
			return nil, err
		}
		return order.NewDecoder(s, s)
	case 9:
		<-ctx.Done()
		return nil, fmt.Errorf("waiting for the schema registry: %w", ctx.Err())
	}
	return nil, failure.NewPermanent("unknown_schema_id", fmt.Errorf("schema id %d is not known to the registry", id))
}

const knownGUID = "00112233-4455-6677-8899-aabbccddeeff"

func (k *known) DecoderByGUID(ctx context.Context, guid string) (*order.Decoder, error) {
	if guid == knownGUID {
		return k.Decoder(ctx, 7)
	}
	return nil, failure.NewPermanent("unknown_schema_id", fmt.Errorf("schema GUID %s is not known to the registry", guid))
}

func build(t testing.TB, registry order.Decoders) *processor {
	t.Helper()
	s, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	p, err := newProcessor(s, registry, registry, service.MockResources())
	require.NoError(t, err)
	return p
}

func run(t testing.TB, ctx context.Context, p *processor, values ...[]byte) service.MessageBatch {
	t.Helper()
	var batch service.MessageBatch
	for _, v := range values {
		batch = append(batch, service.NewMessage(v))
	}
	out, err := p.ProcessBatch(ctx, batch)
	require.NoError(t, err)
	require.Len(t, out, 1)
	require.Len(t, out[0], len(values))
	return out[0]
}

func framed(id uint32, record string) []byte {
	return append(order.AppendFrame(nil, id), record...)
}

func TestPlainOrders(t *testing.T) {
	for _, registry := range []order.Decoders{nil, &known{}} {
		msg := run(t, t.Context(), build(t, registry), []byte(sample))[0]
		require.NoError(t, msg.GetError())
		doc, err := msg.AsStructured()
		require.NoError(t, err)
		require.Equal(t, sampleDoc, doc)
		original, ok := msg.MetaGetMut("original_value")
		require.True(t, ok)
		require.Equal(t, []byte(sample), original)
	}
}

func TestPlainAndFramedOrdersInOneBatch(t *testing.T) {
	batch := run(t, t.Context(), build(t, &known{}), []byte(sample), framed(7, sample), []byte(sample))
	for _, msg := range batch {
		require.NoError(t, msg.GetError())
		doc, err := msg.AsStructured()
		require.NoError(t, err)
		require.Equal(t, sampleDoc, doc)
	}
	original, _ := batch[1].MetaGetMut("original_value")
	require.Equal(t, framed(7, sample), original, "with the frame")
}

func TestAnOrderOfASessionIsNotKeptTwice(t *testing.T) {
	msg, _ := new(carried.Session).Message(7, []byte(sample))
	_, err := build(t, nil).ProcessBatch(t.Context(), service.MessageBatch{msg})
	require.NoError(t, err)
	require.NoError(t, msg.GetError())
	_, kept := msg.MetaGetMut("original_value")
	require.False(t, kept)
}

func TestAPlainOrderWithoutIDIsNoFrame(t *testing.T) {
	// An empty order id is a zero byte, like the begin of a frame.
	withoutID := []byte("\x00" + "\x06Pen" + "\x00\x00\x00\x00\x00\x00\xf8\x3f")
	alsoKnown := []byte("\x00" + "\x00\x00\x00\x07\x00\x00\x00\xf8\x3f") // bytes 2 to 5 are a known id
	for _, registry := range []order.Decoders{nil, &known{}} {
		for _, value := range [][]byte{withoutID, alsoKnown} {
			msg := run(t, t.Context(), build(t, registry), value)[0]
			require.NoError(t, msg.GetError())
			doc, err := msg.AsStructured()
			require.NoError(t, err)
			require.Empty(t, doc.(map[string]any)["orderId"])
		}
	}
}

func TestWhatIsNoOrder(t *testing.T) {
	for name, c := range map[string]struct {
		registry   order.Decoders
		value      []byte
		code, text string
	}{
		"null":                              {nil, nil, "null_value", "decoding order: the value is null"},
		"empty":                             {nil, []byte{}, "empty_value", "decoding order: the value is empty"},
		"cut short":                         {nil, []byte(sample[:9]), "decode_failed", "decoding order: 9 bytes: field price: record ends after 1 of 8 bytes"},
		"too long":                          {nil, []byte(sample + "x"), "decode_failed", "decoding order: 17 bytes: 1 bytes follow after the record"},
		"JSON":                              {nil, []byte(`{"orderId":"A-1"}`), "decode_failed", "decoding order: 17 bytes: it looks like JSON text, and is no order in Avro"},
		"one byte":                          {&known{}, []byte{0}, "decode_failed", "decoding order: 1 bytes: field product: record ends within a number"},
		"a frame of no id, and no registry": {nil, framed(0, sample), "decode_failed", "decoding order: 21 bytes: it looks like a frame with an id of 8 bytes (104934705), as older"},
		"a frame, but no registry": {nil, framed(7, sample), "registry_missing",
			"decoding order: 21 bytes: 11 bytes follow after the record (it begins like the Confluent wire format with schema id 7, which needs a registry: set registry.url)"},
		"an unknown schema": {&known{}, framed(8, sample), "unknown_schema_id", "decoding order: 21 bytes: schema id 8 is not known to the registry"},
		"an id above all":   {&known{}, framed(1<<31, sample), "decode_failed", "decoding order: 21 bytes: 10 bytes follow after the record"},
		"a broken record in a frame": {&known{}, framed(7, sample[:6]), "decode_failed",
			"decoding order: 11 bytes: record of schema id 7: field product: record ends after 1 of 3 bytes"},
		"a frame and no record": {&known{}, framed(7, ""), "decode_failed", "decoding order: 5 bytes: record of schema id 7: field orderId: record ends within a number"},
		"1 MB of garbage":       {nil, bytes.Repeat([]byte{0xff}, 1<<20), "decode_failed", "decoding order: 1048576 bytes: field orderId: number has more than 64 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			batch := run(t, t.Context(), build(t, c.registry), []byte(sample), c.value, []byte(sample))
			class, code := failure.Of(batch[1].GetError())
			require.Equal(t, failure.Permanent, class)
			require.Equal(t, c.code, code)
			require.ErrorContains(t, batch[1].GetError(), c.text)

			content, err := batch[1].AsBytes()
			require.NoError(t, err)
			require.Equal(t, c.value, content, "the content stays")
			original, ok := batch[1].MetaGetMut("original_value")
			require.True(t, ok)
			require.Equal(t, c.value, original)
			require.Equal(t, c.value == nil, original.([]byte) == nil, "null stays null")

			require.NoError(t, batch[0].GetError(), "others in the batch are untouched")
			require.NoError(t, batch[2].GetError())
		})
	}
}

// A header comes as text, whatever its bytes are; other inputs and mappings may set other things.
func TestTheSchemaInTheHeader(t *testing.T) {
	const id, guid = "\x00\x00\x00\x00\x07", "\x01\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
	for name, c := range map[string]struct {
		registry order.Decoders
		header   any
		code     string
	}{
		"an id":                  {&known{}, id, ""},
		"an id in bytes":         {&known{}, []byte(id), ""},
		"a GUID":                 {&known{}, guid, ""},
		"an unknown id":          {&known{}, "\x00\x00\x00\x00\x08", "unknown_schema_id"},
		"null":                   {&known{}, nil, "schema_header_invalid"},
		"null bytes":             {&known{}, []byte(nil), "schema_header_invalid"},
		"empty":                  {&known{}, "", "schema_header_invalid"},
		"a number":               {&known{}, 7, "schema_header_invalid"},
		"an id, but no registry": {nil, id, "registry_missing"},
	} {
		t.Run(name, func(t *testing.T) {
			msg := service.NewMessage([]byte(sample))
			msg.MetaSetMut("__value_schema_id", c.header)
			_, err := build(t, c.registry).ProcessBatch(t.Context(), service.MessageBatch{msg})
			require.NoError(t, err)
			if c.code != "" {
				_, code := failure.Of(msg.GetError())
				require.Equal(t, c.code, code)
				content, err := msg.AsBytes()
				require.NoError(t, err)
				require.Equal(t, sample, string(content), "the content stays")
				return
			}
			require.NoError(t, msg.GetError())
			doc, err := msg.AsStructured()
			require.NoError(t, err)
			require.Equal(t, sampleDoc, doc)
			header, _ := msg.MetaGetMut("__value_schema_id")
			require.Equal(t, c.header, header, "it stays, for the dead letter")
		})
	}
}

func TestAnOutageThatOutlivesTheContextIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	alsoPlain := framed(9, "\x00\x00\x00\xf8\x3f") // what it is nobody can tell before the registry is back
	batch := run(t, ctx, build(t, &known{}), framed(9, sample), []byte(sample), alsoPlain)
	require.ErrorIs(t, batch[2].GetError(), context.Canceled)
	require.ErrorIs(t, batch[0].GetError(), context.Canceled)
	require.EqualError(t, batch[0].GetError(), "decoding order: 21 bytes: waiting for the schema registry: context canceled")
	class, _ := failure.Of(batch[0].GetError())
	require.NotEqual(t, failure.Permanent, class)
	require.NoError(t, batch[1].GetError())
}

func TestAnEarlierErrorStays(t *testing.T) {
	msg := service.NewMessage([]byte(sample))
	first := errors.New("mapping: no such field")
	msg.SetError(first)
	_, err := build(t, nil).ProcessBatch(t.Context(), service.MessageBatch{msg})
	require.NoError(t, err)
	require.Equal(t, first, msg.GetError())
}

func TestAHeaderNamedLikeOurMetadataIsReplaced(t *testing.T) {
	msg := service.NewMessage([]byte(sample))
	msg.MetaSetMut("original_value", "a header")
	_, err := build(t, nil).ProcessBatch(t.Context(), service.MessageBatch{msg})
	require.NoError(t, err)
	original, _ := msg.MetaGetMut("original_value")
	require.Equal(t, []byte(sample), original)
}

// The host drops a document that JSON cannot express without a word: its bytes are empty. That
// is why such an order must be refused by order_validate, and why the dead letter takes its
// bytes from original_value. If this test fails after an upgrade, the host has changed.
func TestTheHostMarshalsNaNToNothing(t *testing.T) {
	for _, price := range []float64{math.NaN(), math.Inf(1)} {
		value := binary.LittleEndian.AppendUint64([]byte("\x02A\x02B"), math.Float64bits(price))
		msg := run(t, t.Context(), build(t, nil), value)[0]
		require.NoError(t, msg.GetError())
		content, err := msg.AsBytes()
		require.NoError(t, err)
		require.Empty(t, content)
		original, _ := msg.MetaGetMut("original_value")
		require.Equal(t, value, original)
	}
}

func parse(t *testing.T, yaml string) (*processor, error) {
	t.Helper()
	conf, err := spec().ParseYAML(yaml, nil)
	require.NoError(t, err)
	return fromParsed(conf, service.MockResources())
}

func TestWrongConfig(t *testing.T) {
	dir := t.TempDir()
	noJSON, noPrice := filepath.Join(dir, "broken.avsc"), filepath.Join(dir, "noprice.avsc")
	require.NoError(t, os.WriteFile(noJSON, []byte(`{"type":`), 0o600))
	require.NoError(t, os.WriteFile(noPrice, []byte(`{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"product","type":"string"}]}`), 0o600))
	for yaml, want := range map[string]string{
		`schema_path: no/such/order.avsc`:             `field schema_path: open no/such/order.avsc: no such file or directory`,
		`schema_path: ` + noJSON:                      `field schema_path: "` + noJSON + `": parsing schema: `,
		`schema_path: ` + noPrice:                     `field schema_path: resolving schemas: reader: schema field price: is missing, must be there with type double`,
		`registry: { url: "localhost:8081" }`:         `field registry.url: "localhost:8081" is not allowed, must be like http://host:8081 or https://host`,
		`registry: { url: "ftp://host" }`:             `field registry.url: "ftp://host" is not allowed, must be like http://host:8081 or https://host`,
		`registry: { url: "http://a:1, nonsense" }`:   `field registry.url: "nonsense" is not allowed`,
		`registry: { url: "http://me:sec/ret@host" }`: `field registry.url: "http://host" is not allowed, must be like https://user:password@host, with the signs of both percent-encoded`,
		`registry: { timeout: 0s }`:                   `field registry.timeout: 0s is not allowed, must be above 0, such as 5s`,
		`registry: { max_pause: -1s }`:                `field registry.max_pause: -1s is not allowed, must be above 0, such as 5s`,
		`registry: { remember_refusal: soon }`:        `field registry.remember_refusal: `,
		`registry: { url: "https://host", tls: { enabled: true, root_cas_file: nope.pem } }`: `field registry.tls: open nope.pem`,
	} {
		_, err := parse(t, yaml)
		require.ErrorContains(t, err, want, yaml)
	}
}

func TestGoodConfig(t *testing.T) {
	for _, yaml := range []string{
		``, `schema_path: ../../config/schemas/order.avsc`, `schema_path: ../../config/schemas/history/order_v3.avsc`,
		`registry: { url: "http://a:8081,https://b/registry", basic_auth: { enabled: true, username: u, password: p }, tls: { enabled: true } }`,
	} {
		p, err := parse(t, yaml)
		require.NoError(t, err, yaml)
		require.NoError(t, p.Close(t.Context()))
	}
}

func FuzzProcess(f *testing.F) {
	p := build(f, &known{})
	f.Add([]byte(sample))
	f.Add(framed(7, sample))
	f.Add(framed(8, sample))
	f.Add(framed(7, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		if id, _, ok := order.SplitFrame(value); ok && id == 9 {
			return // waits for ever
		}
		var msg *service.Message
		bounded.Memory(t, len(value), func() { msg = run(t, t.Context(), p, value)[0] })
		if err := msg.GetError(); err != nil {
			class, _ := failure.Of(err)
			require.Equal(t, failure.Permanent, class)
			require.Regexp(t, `^decoding order: (the value is |\d+ bytes: )`, err.Error())
		}
		original, _ := msg.MetaGetMut("original_value")
		require.Equal(t, value, original)
	})
}

func BenchmarkDecode(b *testing.B) {
	const n = 1000
	s, err := order.ParseSchema(schemas.Order)
	require.NoError(b, err)
	enc, err := order.NewEncoder(s)
	require.NoError(b, err)
	p := build(b, nil)
	values := make([][]byte, n)
	for i := range values {
		values[i], err = enc.Append(nil, order.Order{ID: fmt.Sprintf("order-000001-%06d", i), Product: "Desk Lamp", Price: 129.99})
		require.NoError(b, err)
	}
	batch := make(service.MessageBatch, n)
	for i := range batch {
		batch[i] = service.NewMessage(nil)
		batch[i].MetaSetMut("kafka_key", []byte("k")) // a message from Kafka has metadata already
	}
	b.ReportAllocs()
	for b.Loop() {
		for i, msg := range batch {
			msg.SetBytes(values[i])
		}
		_, _ = p.ProcessBatch(context.Background(), batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/msg")
}

// slow is a registry that does not answer as long as anybody is willing to wait.
type slow struct{}

func (slow) Decoder(ctx context.Context, _ uint32) (*order.Decoder, error) {
	<-ctx.Done()
	return nil, failure.NewUnavailable("registry_unavailable", ctx.Err())
}

func (s slow) DecoderByGUID(ctx context.Context, _ string) (*order.Decoder, error) {
	return s.Decoder(ctx, 0)
}

// The transaction of a batch waits for it, however many of its schemas are asked for.
func TestABatchOfASessionWaitsForItsRegistryForOneSecondInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := build(t, slow{})
		var batch service.MessageBatch
		for n := range 1000 {
			value := []byte(sample)
			if n%2 == 0 {
				value = framed(uint32(n)+1, sample)
			}
			msg, _ := new(carried.Session).Message(n, value)
			batch = append(batch, msg)
		}
		begin := time.Now()
		_, err := p.ProcessBatch(t.Context(), batch)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(begin))
		for n, msg := range batch {
			require.Equal(t, n%2 == 0, failure.Unavailable(msg.GetError()))
			require.Equal(t, n%2 == 0, msg.GetError() != nil)
		}
	})
}
