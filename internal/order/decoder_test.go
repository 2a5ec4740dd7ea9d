package order_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/failure"
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
		"a price that may be null": {
			writer: strings.Replace(record(""), `"double"`, `["null","double"]`, 1), data: "\x02A\x02B\x02\x00\x00\x00\x00\x00\x00\xf8\x3f",
			want: order.Order{ID: "A", Product: "B", Price: 1.5},
		},
		"all that may be null, each another way": {
			writer: `{"type":"record","name":"Order","fields":[{"name":"orderId","type":["null","string"]},
				{"name":"product","type":["string","null"],"default":"x"},{"name":"price","type":["null","string","float","int"]}]}`,
			data: "\x02\x02A" + "\x00\x02B" + "\x06\x0e",
			want: order.Order{ID: "A", Product: "B", Price: 7},
		},
		"another name, in a namespace": {
			writer: strings.Replace(record(""), `"name":"Order"`, `"name":"Purchase","namespace":"com.example"`, 1), data: sample, want: sampleOrder,
		},
		"a union of records": {
			writer: `["null",{"type":"record","name":"Other","fields":[]},` + record("") + `]`, data: "\x04" + sample, want: sampleOrder,
		},
		"defaults that are wrong": {
			writer: record(`{"name":"a","type":"int","default":"x"},{"name":"b","type":["null","int"],"default":7},
				{"name":"d","type":{"type":"enum","name":"E","symbols":["X"],"default":"Y"},"default":[]},`),
			data: "\x02" + "\x00" + "\x00" + sample, want: sampleOrder,
		},
		"a recursive type, by a union and by an array": {
			writer: record(`{"name":"next","type":["null","Order"]},{"name":"tree","type":{"type":"record","name":"Tree","fields":[{"name":"kids","type":{"type":"array","items":"Tree"}}]}},`),
			data:   "\x02" + "\x00" + "\x00" + sample + "\x04\x00\x02\x00\x00\x00" + sample, want: sampleOrder,
		},
		"nulls, and arrays and maps of nothing": {
			writer: record(`{"name":"a","type":"null"},{"name":"b","type":{"type":"array","items":"null"}},{"name":"c","type":{"type":"map","values":"null"}},
				{"name":"d","type":{"type":"array","items":{"type":"record","name":"N","fields":[{"name":"n","type":{"type":"fixed","name":"F","size":0}}]}}},`),
			data: "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x03\x00\x00" + "\x02\x02k\x00" + "\x06\x00" + sample, want: sampleOrder,
		},
		"logical types of text and numbers are what they are without": {
			writer: `{"type":"record","name":"Order","fields":[{"name":"orderId","type":{"type":"string","logicalType":"uuid"}},
				{"name":"product","type":{"type":"bytes","logicalType":"decimal","precision":0}},{"name":"price","type":{"type":"long","logicalType":"whatever"}}]}`,
			data: "\x02A\x02B\x0e", want: order.Order{ID: "A", Product: "B", Price: 7},
		},
		"a decimal in bytes": {
			writer: strings.Replace(record(""), `"double"`, `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, 1),
			data:   "\x02A\x02B\x04\x07\xcf", want: order.Order{ID: "A", Product: "B", Price: 19.99},
		},
		"a decimal below 0 in a fixed, without a scale, that may be null": {
			writer: strings.Replace(record(""), `"double"`, `["null",{"type":"fixed","name":"Money","size":3,"logicalType":"decimal","precision":6}]`, 1),
			data:   "\x02A\x02B\x02\xff\xff\x38", want: order.Order{ID: "A", Product: "B", Price: -200},
		},
		"names of other scripts, and of other namespaces": {
			writer: record(`{"name":"größe","type":{"type":"enum","name":"a.b.Größe","symbols":["Ä"]}},{"name":"x","type":{"type":"record","name":"R","namespace":"c","fields":[
				{"name":"f","type":"a.b.Größe"},{"name":"g","type":{"type":"fixed","name":"F","size":1}},{"name":"h","type":"F"},{"name":"i","type":"c.F"}]}},{"name":"y","type":["c.F","c.R"]},`),
			data: "\x00" + "\x00abc" + "\x00d" + sample, want: sampleOrder,
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
	for field, data := range map[string]string{"orderId": "\x02\xff" + sample[4:], "product": sample[:4] + "\x02\xff" + sample[8:]} {
		_, err := decoder(t, current(t), writer).Decode([]byte(data))
		require.EqualError(t, err, "field "+field+": string is not valid UTF-8")
	}
}

// A null where an order needs a value, and a branch of a union that is of no use, are told by the
// codes of the field. Nothing is made up for them.
func TestFieldsThatAreNull(t *testing.T) {
	writer := parse(t, `["null","int",{"type":"record","name":"Order","fields":[{"name":"price","type":["null","double","string",{"type":"bytes","logicalType":"decimal","precision":4}]},
		{"name":"orderId","type":["null","string","int"]},{"name":"product","type":["boolean","null","bytes"],"default":true}]}]`)
	one := "\x02\x00\x00\x00\x00\x00\x00\xf0\x3f"
	for data, want := range map[string]struct{ code, text string }{
		"\x00":                                            {order.CodeNullValue, "the record is null"},
		"\x02\x0e":                                        {failure.Unclassified, "the writer's is of type int, an order is a record"},
		"\x04\x00\x02\x02A\x04\x02B":                      {order.CodePriceMissing, "field price: is null"},
		"\x04\x04\x021\x02\x02A\x04\x02B":                 {order.CodePriceInvalid, "field price: is of type string, must be a double"},
		"\x04" + one + "\x00\x04\x02B":                    {order.CodeIDMissing, "field orderId: is null"},
		"\x04" + one + "\x04\x0e\x04\x02B":                {order.CodeIDInvalid, "field orderId: is of type int, must be a string"},
		"\x04" + one + "\x02\x02A\x02":                    {order.CodeProductMissing, "field product: is null"},
		"\x04" + one + "\x02\x02A\x00\x01":                {order.CodeProductInvalid, "field product: is of type boolean, must be a string"},
		"\x04" + one + "\x02\x02A\x06":                    {failure.Unclassified, "field product: union has branch 3 of 3"},
		"\x06":                                            {failure.Unclassified, "union has branch 3 of 3"},
		"\x04\x06\x82\x10" + strings.Repeat("\x7f", 1025): {order.CodePriceInvalid, "field price: a decimal of 1025 bytes, at most 1024 are read"},
		"\x04\x06\x80\x10" + strings.Repeat("\x7f", 1024): {order.CodePriceNotFinite, "field price: a decimal is too large for a double"},
		"\x04\x06\x80\x10" + strings.Repeat("\x7f", 1023): {failure.Unclassified, "field price: record ends after 1023 of 1024 bytes"},
	} {
		_, err := decoder(t, current(t), writer).Decode([]byte(data))
		require.EqualError(t, err, want.text)
		_, code := failure.Of(err)
		require.Equal(t, want.code, code, want.text)
	}
	o, err := decoder(t, current(t), writer).Decode([]byte("\x04" + one + "\x02\x02A\x04\x02B"))
	require.NoError(t, err)
	require.Equal(t, order.Order{ID: "A", Product: "B", Price: 1}, o)
}

// A decimal becomes the number that is nearest to it, which is what its digits are as a literal.
func TestDecimalsAreReadExactly(t *testing.T) {
	reader := current(t)
	rapid.Check(t, func(rt *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 0, rapid.SampledFrom([]int{2, 8, 9, 40, 300}).Draw(rt, "most")).Draw(rt, "raw")
		scale := rapid.IntRange(0, 400).Draw(rt, "scale")
		d := decoder(t, reader, parse(t, strings.Replace(record(""), `"double"`, fmt.Sprintf(`{"type":"bytes","logicalType":"decimal","precision":999,"scale":%d}`, scale), 1)))
		data := append(binary.AppendVarint([]byte("\x02A\x02B"), int64(len(raw))), raw...)
		exact := new(big.Rat).SetInt(new(big.Int).SetBytes(raw))
		if len(raw) > 0 && raw[0] >= 0x80 {
			exact.Sub(exact, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw)))))
		}
		exact.Quo(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		want, _ := exact.Float64()
		o, err := d.Decode(data)
		if math.IsInf(want, 0) {
			_, code := failure.Of(err)
			require.Equal(rt, order.CodePriceNotFinite, code)
			return
		}
		require.NoError(rt, err)
		require.Equal(rt, want, o.Price)
	})
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
	for name, c := range map[string]struct{ writer, want string }{
		"no record":                            {`"string"`, "the writer's is of type string, an order is a record"},
		"no record in a union":                 {`["null","string"]`, "the writer's is of type string, an order is a record"},
		"a union of nothing":                   {`[]`, "the writer's is a union of nothing"},
		"price is missing":                     {`{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"product","type":"string"}]}`, "reader field price is missing in writer schema and has no default"},
		"price is a string":                    {strings.Replace(record(""), "double", "string", 1), "field price: type string cannot be read as double"},
		"price is null":                        {strings.Replace(record(""), "double", "null", 1), "field price: type null cannot be read as double"},
		"price may be null, or nothing of use": {strings.Replace(record(""), `"double"`, `["null","bytes"]`, 1), "field price: type union cannot be read as double"},
		"price is bytes, and no valid decimal": {strings.Replace(record(""), `"double"`, `{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}`, 1), "field price: type bytes cannot be read as double"},
		"price is a fixed":                     {strings.Replace(record(""), `"double"`, `{"type":"fixed","name":"F","size":8}`, 1), "field price: type fixed cannot be read as double"},
		"an id that is an enum":                {strings.Replace(record(""), `"string"`, `{"type":"enum","name":"E","symbols":["A"]}`, 1), "field orderId: type enum cannot be read as string"},
		"an id that is a decimal":              {strings.Replace(record(""), `"string"`, `{"type":"bytes","logicalType":"decimal","precision":4}`, 1), "field orderId: type bytes (decimal) cannot be read as string"},
		"an id that is an int":                 {strings.Replace(record(""), `"string"`, `"int"`, 1), "field orderId: type int cannot be read as string"},
		"a record around it":                   {`{"type":"record","name":"Envelope","fields":[{"name":"order","type":` + record("") + `}]}`, "reader field orderId is missing in writer schema and has no default"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := order.NewDecoder(current(t), parse(t, c.writer))
			require.EqualError(t, err, "resolving schemas: "+c.want)
		})
	}
}

func TestReadersThatDoNotFit(t *testing.T) {
	for name, c := range map[string]struct{ reader, writer, want string }{
		"a price of another type":   {strings.Replace(record(""), `"double"`, `["null","double"]`, 1), schemas.Order, "reader: schema field price: is of type union, must be double"},
		"a default of another type": {strings.Replace(record(""), `"double"`, `"double","default":"1"`, 1), schemas.Order, "reader: schema field price: the default is a string, must be a double"},
		"a null default":            {strings.Replace(record(""), `"string"`, `"string","default":null`, 1), schemas.Order, "reader: schema field orderId: the default is null, must be a string"},
		"one former name of two fields": {
			`{"type":"record","name":"Order","fields":[{"name":"id","type":"int","default":0},{"name":"orderId","type":"string"},
				{"name":"product","type":"string","aliases":["orderId"]},{"name":"price","type":"double"}]}`,
			`{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"price","type":"double"}]}`,
			"field orderId: would be read as orderId and as product",
		},
		"a field that is needed": {record(`{"name":"customer","type":"string"},`), schemas.Order, "reader field customer is missing in writer schema and has no default"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := order.NewDecoder(parse(t, c.reader), parse(t, c.writer))
			require.EqualError(t, err, "resolving schemas: "+c.want)
		})
	}
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
	for _, s := range []string{"", "\x00\x00\x00\x00", sample, "\x00\x80\x00\x00\x00" + sample, "\x00\x00\x00\x00\x00" + sample} {
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
