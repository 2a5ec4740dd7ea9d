package order_test

import (
	"encoding/binary"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
)

const (
	version1 = "../../config/schemas/history/order_v1.avsc"
	version3 = "../../config/schemas/history/order_v3.avsc"
)

// Written by hand, so that the test does not ask the codec what it should have written.
const sample = "\x06A-1" + "\x06Pen" + "\x00\x00\x00\x00\x00\x00\xf8\x3f"

var sampleOrder = order.Order{ID: "A-1", Product: "Pen", Price: 1.5}

func parse(t testing.TB, text string, refs ...string) *order.Schema {
	t.Helper()
	s, err := order.ParseSchema(text, refs...)
	require.NoError(t, err)
	return s
}

func file(t testing.TB, path string) *order.Schema {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return parse(t, string(text))
}

func current(t testing.TB) *order.Schema { return parse(t, schemas.Order) }

func decoder(t testing.TB, reader, writer *order.Schema) *order.Decoder {
	t.Helper()
	d, err := order.NewDecoder(reader, writer)
	require.NoError(t, err)
	return d
}

func encoder(t testing.TB, s *order.Schema) *order.Encoder {
	t.Helper()
	e, err := order.NewEncoder(s)
	require.NoError(t, err)
	return e
}

// record makes a schema of an order with fields in front of the usual ones.
func record(fields string) string {
	return `{"type":"record","name":"Order","fields":[` + fields +
		`{"name":"orderId","type":"string"},{"name":"product","type":"string"},{"name":"price","type":"double"}]}`
}

func TestTheWireFormatIsPlainAvro(t *testing.T) {
	got, err := encoder(t, current(t)).Append([]byte("head"), sampleOrder)
	require.NoError(t, err)
	require.Equal(t, "head"+sample, string(got))

	o, err := decoder(t, current(t), current(t)).Decode([]byte(sample))
	require.NoError(t, err)
	require.Equal(t, sampleOrder, o)
}

func TestEveryVersionReadsEveryOther(t *testing.T) {
	versions := map[string]*order.Schema{"v1": file(t, version1), "v2": current(t), "v3": file(t, version3)}
	for w, writer := range versions {
		data, err := encoder(t, writer).Append(nil, sampleOrder)
		require.NoError(t, err)
		for r, reader := range versions {
			o, err := decoder(t, reader, writer).Decode(data)
			require.NoError(t, err, "%s reads %s", r, w)
			require.Equal(t, sampleOrder, o, "%s reads %s", r, w)
		}
	}
}

func TestResolvingSchemas(t *testing.T) {
	for name, c := range map[string]struct {
		writer, data string
		want         order.Order
	}{
		"a price of type int is promoted": {
			writer: strings.Replace(record(""), "double", "int", 1), data: "\x02A\x02B\x0e",
			want: order.Order{ID: "A", Product: "B", Price: 7},
		},
		"a price of type long is promoted": {
			writer: strings.Replace(record(""), "double", "long", 1), data: "\x02A\x02B\x80\x01",
			want: order.Order{ID: "A", Product: "B", Price: 64},
		},
		"a price of type float is promoted": {
			writer: strings.Replace(record(""), "double", "float", 1), data: "\x02A\x02B\x00\x00\xc0\x3f",
			want: order.Order{ID: "A", Product: "B", Price: 1.5},
		},
		"an id of type bytes becomes a string": {
			writer: strings.Replace(record(""), "string", "bytes", 1), data: "\x02A\x02B\x00\x00\x00\x00\x00\x00\xf8\x3f",
			want: order.Order{ID: "A", Product: "B", Price: 1.5},
		},
		"the order of the fields may differ": {
			writer: `{"type":"record","name":"Order","fields":[{"name":"price","type":"double"},{"name":"product","type":"string"},{"name":"orderId","type":"string"}]}`,
			data:   "\x00\x00\x00\x00\x00\x00\xf8\x3f\x02B\x02A",
			want:   order.Order{ID: "A", Product: "B", Price: 1.5},
		},
		"all kinds of types are skipped": {
			writer: record(`
				{"name":"a","type":"boolean"},{"name":"b","type":"int"},{"name":"c","type":"long"},{"name":"d","type":"float"},
				{"name":"e","type":{"type":"array","items":"long"}},{"name":"f","type":{"type":"map","values":"string"}},
				{"name":"g","type":["null","string"]},{"name":"h","type":{"type":"enum","name":"E","symbols":["X","Y"]}},
				{"name":"i","type":{"type":"fixed","name":"F","size":3}},{"name":"j","type":"bytes"},
				{"name":"k","type":{"type":"record","name":"R","fields":[{"name":"x","type":"string"},{"name":"y","type":"E"}]}},`),
			data: "\x01" + "\x05" + "\x80\x02" + "\x00\x00\x00\x00" +
				"\x04\x02\x04\x01\x02\x06\x00" + // a block of two items, one of one item with its size
				"\x02\x02k\x02v\x00" + "\x02\x02s" + "\x02" + "abc" + "\x04\xff\xff" + "\x02x\x00" + sample,
			want: sampleOrder,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decoder(t, current(t), parse(t, c.writer)).Decode([]byte(c.data))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestAReaderMayRenameAndDefault(t *testing.T) {
	reader := parse(t, `{"type":"record","name":"Order","fields":[
		{"name":"orderId","type":"string","aliases":["id"]},
		{"name":"product","type":"string","default":"unknown"},
		{"name":"price","type":"double"},
		{"name":"weight","type":"double","default":0}]}`)
	// weight is promoted, too: the library would skip eight bytes of a float's four.
	writer := parse(t, `{"type":"record","name":"Order","fields":[
		{"name":"weight","type":"float"},{"name":"id","type":"string"},{"name":"price","type":"double"}]}`)
	o, err := decoder(t, reader, writer).Decode([]byte("\x00\x00\x00\x00" + "\x02A" + "\x00\x00\x00\x00\x00\x00\xf8\x3f"))
	require.NoError(t, err)
	require.Equal(t, order.Order{ID: "A", Product: "unknown", Price: 1.5}, o)
}

func TestSchemasFromSeveralTexts(t *testing.T) {
	money := `{"type":"enum","name":"Currency","symbols":["EUR","USD"]}`
	writer := parse(t, record(`{"name":"currency","type":"Currency"},`), money)
	o, err := decoder(t, current(t), writer).Decode([]byte("\x02" + sample))
	require.NoError(t, err)
	require.Equal(t, sampleOrder, o)
}

func TestRecordsThatAreNoOrders(t *testing.T) {
	optional := record(`{"name":"a","type":["null","string"]},{"name":"b","type":{"type":"enum","name":"E","symbols":["X"]}},
		{"name":"c","type":{"type":"array","items":"long"}},{"name":"d","type":"int"},{"name":"e","type":"boolean"},`)
	for name, c := range map[string]struct{ writer, data, want string }{
		"nothing":                       {"", "", "field orderId: record ends within a number"},
		"ends within the id":            {"", sample[:2], "field orderId: record ends after 1 of 3 bytes"},
		"ends before the price":         {"", sample[:8], "field price: record ends after 0 of 8 bytes"},
		"ends within the price":         {"", sample[:13], "field price: record ends after 5 of 8 bytes"},
		"one byte more":                 {"", sample + "x", "1 bytes follow after the record"},
		"two records":                   {"", sample + sample, "16 bytes follow after the record"},
		"JSON":                          {"", `{"orderId":"A-1","product":"Pen","price":1.5}`, "field orderId: length is -62"},
		"a negative length":             {"", "\x01" + sample, "field orderId: length is -1"},
		"a length of 4 GB":              {"", "\x80\x80\x80\x80\x20" + sample, "field orderId: record ends after 16 of 4294967296 bytes"},
		"the greatest length":           {"", "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + sample, "field orderId: record ends after 16 of 9223372036854775807 bytes"},
		"a length of more than 64 bits": {"", strings.Repeat("\xff", 11) + sample, "field orderId: number has more than 64 bits"},
		"an id that is not UTF-8":       {"", "\x04\xff\xfe" + sample[4:], "field orderId: string is not valid UTF-8"},
		"an unknown branch":             {optional, "\x04" + sample, "field a: union has branch 2 of 2"},
		"a negative branch":             {optional, "\x01" + sample, "field a: union has branch -1 of 2"},
		"an unknown symbol":             {optional, "\x00\x02" + sample, "field b: enum has symbol 1 of 1"},
		"a block too long":              {optional, "\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + sample, "field c: block of 9223372036854775807 items in 16 bytes"},
		"a block of the least count":    {optional, "\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00" + sample, "field c: block of -9223372036854775808 items in 16 bytes"},
		"a block of a size too long":    {optional, "\x00\x00\x01\x7e" + sample, "field c: record ends after 16 of 63 bytes"},
		"an int of 64 bits":             {optional, "\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "field d: number has more than 32 bits"},
		"a boolean of 2":                {optional, "\x00\x00\x00\x00\x02", "field e: boolean is 2, must be 0 or 1"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.writer == "" {
				c.writer = schemas.Order
			}
			_, err := decoder(t, current(t), parse(t, c.writer)).Decode([]byte(c.data))
			require.EqualError(t, err, c.want)
		})
	}
}

func TestBytesThatAreNoStringAreRefused(t *testing.T) {
	writer := parse(t, strings.ReplaceAll(record(""), "string", "bytes"))
	for _, data := range []string{"\x02\xff" + sample[4:], sample[:4] + "\x02\xff" + sample[8:]} {
		_, err := decoder(t, current(t), writer).Decode([]byte(data))
		require.EqualError(t, err, "string is not valid UTF-8")
	}
}

func TestOddPricesDecode(t *testing.T) {
	d := decoder(t, current(t), current(t))
	for _, p := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), -5, math.MaxFloat64} {
		data := binary.LittleEndian.AppendUint64([]byte("\x00\x00"), math.Float64bits(p))
		o, err := d.Decode(data)
		require.NoError(t, err)
		require.Equal(t, math.Float64bits(p), math.Float64bits(o.Price))
	}
}

func TestSchemasThatDoNotFit(t *testing.T) {
	laughs := `{"type":"record","name":"T0","fields":[{"name":"x","type":"int"}]}`
	for i := 1; i < 20; i++ {
		laughs = strings.ReplaceAll(`{"type":"record","name":"T#","fields":[{"name":"a","type":`+laughs+`},{"name":"b","type":"T@"}]}`,
			"#", string(rune('A'+i)))
		laughs = strings.ReplaceAll(laughs, "T@", map[bool]string{true: "T0", false: "T" + string(rune('A'+i-1))}[i == 1])
	}
	for name, c := range map[string]struct{ writer, want string }{
		"no record":              {`"string"`, "reader schema record not compatible with writer schema string"},
		"another name":           {strings.Replace(record(""), "Order", "Invoice", 1), "names do not match"},
		"price is missing":       {`{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"product","type":"string"}]}`, "reader field price is missing in writer schema and has no default"},
		"price is a string":      {strings.Replace(record(""), "double", "string", 1), "reader schema double not compatible with writer schema string"},
		"an id that may be null": {strings.Replace(record(""), `"string"`, `["null","string"]`, 1), "reader schema string not compatible with writer schema null"},
		"an id in a union":       {strings.Replace(record(""), `"string"`, `["string"]`, 1), "field orderId: a union cannot be read as one type"},
		"recursive by array":     {record(`{"name":"parts","type":{"type":"array","items":"Order"}},`), "writer: the schema is recursive"},
		"recursive by union":     {record(`{"name":"next","type":["null","Order"]},`), "writer: the schema is recursive"},
		"an array of nulls":      {record(`{"name":"x","type":{"type":"array","items":"null"}},`), "writer: the schema has type null outside of a union"},
		"a null field":           {record(`{"name":"x","type":"null"},`), "writer: the schema has type null outside of a union"},
		"an array of nothing":    {record(`{"name":"x","type":{"type":"array","items":{"type":"record","name":"N","fields":[]}}},`), "array whose items have no bytes"},
		"doubling types":         {record(`{"name":"x","type":` + laughs + `},`), "too many or too deeply nested types"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := order.NewDecoder(current(t), parse(t, c.writer))
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "resolving schemas: ")
		})
	}
}

func TestOwnSchemasThatDoNotFit(t *testing.T) {
	for name, c := range map[string]struct{ schema, want string }{
		"no record":          {`"string"`, "preparing encoder: schema is of type string, an order is a record"},
		"price is missing":   {`{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"product","type":"string"}]}`, "preparing encoder: schema field price: is missing, must be there with type double"},
		"price is a float":   {strings.Replace(record(""), "double", "float", 1), "preparing encoder: schema field price: is of type float, must be double"},
		"a field we lack":    {record(`{"name":"customer","type":"string"},`), "preparing encoder: schema field customer: has no default and an order has no such field"},
		"a recursive schema": {record(`{"name":"next","type":["null","Order"],"default":null},`), "preparing encoder: resolving schemas: writer: the schema is recursive"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := order.NewEncoder(parse(t, c.schema))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := order.ParseSchema(`{"type":"recrod"}`)
	require.ErrorContains(t, err, "parsing schema: ")
	_, err = order.ParseSchema(schemas.Order, `{`)
	require.ErrorContains(t, err, "parsing schema: reference 1: ")
}

func TestOnlyUTF8IsEncoded(t *testing.T) {
	e := encoder(t, current(t))
	_, err := e.Append(nil, order.Order{ID: "a\xff", Product: "b"})
	require.ErrorContains(t, err, "field orderId: ")
	_, err = e.Append(nil, order.Order{ID: "a", Product: "\xff"})
	require.ErrorContains(t, err, "field product: ")
}

func TestRoundTrip(t *testing.T) {
	e, d := encoder(t, current(t)), decoder(t, current(t), current(t))
	rapid.Check(t, func(t *rapid.T) {
		in := order.Order{
			ID: rapid.String().Draw(t, "id"), Product: strings.Repeat("p", rapid.IntRange(0, 3000).Draw(t, "product")),
			Price: rapid.Float64().Draw(t, "price"),
		}
		data, err := e.Append(nil, in)
		require.NoError(t, err)
		out, err := d.Decode(data)
		require.NoError(t, err)
		require.Equal(t, in, out)
		// Strict: no shorter and no longer input is an order.
		_, err = d.Decode(data[:rapid.IntRange(0, len(data)-1).Draw(t, "cut")])
		require.Error(t, err)
		_, err = d.Decode(append(data, rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "more")...))
		require.Error(t, err)
	})
}

func TestFrames(t *testing.T) {
	framed := append(order.AppendFrame([]byte("x"), 258), sample...)
	require.Equal(t, "x\x00\x00\x00\x01\x02"+sample, string(framed))
	id, rec, ok := order.SplitFrame(framed[1:])
	require.True(t, ok)
	require.EqualValues(t, 258, id)
	require.Equal(t, sample, string(rec))
	for _, s := range []string{"", "\x00\x00\x00\x00", sample, "\x00\x80\x00\x00\x00" + sample} {
		_, _, ok = order.SplitFrame([]byte(s))
		require.False(t, ok, "%q", s)
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, writer := range map[string]*order.Schema{"same schema": current(b), "newer writer": file(b, version3)} {
		data, err := encoder(b, writer).Append(nil, order.Order{ID: "order-000001-000042", Product: "Mechanical Keyboard", Price: 129.99})
		require.NoError(b, err)
		d := decoder(b, current(b), writer)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = d.Decode(data)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	e := encoder(b, current(b))
	o := order.Order{ID: "order-000001-000042", Product: "Mechanical Keyboard", Price: 129.99}
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = e.Append(buf, o)
	}
}
