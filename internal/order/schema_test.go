package order_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/bounded"
)

// doubling makes a field whose type has two of the type before it, and so on: a small text, and a
// large type once it is written out.
func doubling(innermost string, levels int) string {
	types := fmt.Sprintf(`{"name":"d0","type":{"type":"record","name":"D0","fields":[%s]},"default":{}},`, innermost)
	for i := 1; i <= levels; i++ {
		types += fmt.Sprintf(`{"name":"d%d","type":{"type":"record","name":"D%d","fields":[{"name":"a","type":"D%d","default":{}},{"name":"b","type":"D%d","default":{}}]},"default":{}},`, i, i, i-1, i-1)
	}
	return types
}

func symbols(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, `"S%d",`, i)
	}
	return strings.TrimSuffix(all.String(), ",")
}

// A schema is whatever somebody has registered. Each of these once ended the process, or kept it
// busy for minutes. As a writer's it is read if its records can be; as our own, or as one that an
// embedded registry is given, it is refused.
func TestSchemasThatAttack(t *testing.T) {
	for name, c := range map[string]struct {
		text             string
		decoder, encoder string // what their errors contain, empty where there is none
		compared         string
	}{
		"a recursive default": {
			record(`{"name":"next","type":"Order","default":{}},`), "", "the schema is recursive", "parsing schema: runtime error: ",
		},
		"a recursive default by two records": {
			record(`{"name":"a","type":{"type":"record","name":"A","fields":[{"name":"b","type":{"type":"record","name":"B","fields":[{"name":"a","type":"A","default":{}}]},"default":{}}]},"default":{}},`),
			"contains itself without end", "contains itself without end", "contains itself without end",
		},
		"a default of an empty union": {
			record(`{"name":"u","type":[],"default":null},`), "", "runtime error: index out of range", "runtime error: index out of range",
		},
		"a fixed of 2 GB with a default": {
			record(`{"name":"f","type":{"type":"fixed","name":"F","size":2147483647},"default":""},`),
			"", "fixed \"F\" has 2147483647 bytes, at most 1048576 are taken", "at most 1048576 are taken",
		},
		"a fixed of more": {
			record(`{"name":"f","type":{"type":"fixed","name":"F","size":1e300}},`),
			"fixed \"F\": size is 1e+300, must be a whole number from 0 to 2147483647", "", "",
		},
		"a fixed of a negative size": {record(`{"name":"f","type":{"type":"fixed","name":"F","size":-1}},`), "size is -1, must be", "", ""},
		"a fixed of half a byte":     {record(`{"name":"f","type":{"type":"fixed","name":"F","size":0.5}},`), "size is 0.5, must be", "", ""},
		"a fixed of no size":         {record(`{"name":"f","type":{"type":"fixed","name":"F","size":"8"}},`), "size is a string, must be a number", "", ""},
		"an enum of 100,000 symbols": {
			record(`{"name":"e","type":{"type":"enum","name":"E","symbols":[` + symbols(100_000) + `]},"default":"S1"},`),
			"", "more than 10000 types and symbols", "more than 10000 types and symbols",
		},
		"an enum of 200,000 symbols": {
			record(`{"name":"e","type":{"type":"enum","name":"E","symbols":[` + symbols(200_000) + `]}},`), "bytes, at most 1048576 are read", "", "",
		},
		"types that double, with defaults":     {record(doubling(`{"name":"x","type":"int","default":0}`, 60)), "", "more than 10000 types", "more than 10000 types"},
		"types that double, without a byte":    {record(doubling(`{"name":"x","type":"null","default":null}`, 60)), "", "more than 10000 types", "more than 10000 types"},
		"too many types":                       {record(`{"name":"u","type":[` + strings.Repeat(`"int",`, 10_000) + `"int"]},`), "it has more than 10000 types", "", ""},
		"types that are nested too deep":       {record(`{"name":"a","type":` + strings.Repeat(`{"type":"array","items":`, 64) + `"int"` + strings.Repeat("}", 64) + `},`), "types are nested deeper than 64 levels", "", ""},
		"brackets":                             {strings.Repeat("[", 1<<20), "it is no JSON: ", "", ""},
		"objects":                              {strings.Repeat(`{"type":`, 9_000) + `"int"` + strings.Repeat("}", 9_000), "types are nested deeper than 64 levels", "", ""},
		"a record within itself alone":         {`{"type":"record","name":"Order","fields":[{"name":"o","type":"Order"}]}`, "record \"Order\" contains itself without end", "", ""},
		"a union within a union":               {record(`{"name":"a","type":["null",["int"]]},`), "a union is directly within a union", "", ""},
		"a type that nobody knows":             {record(`{"name":"a","type":"Money"},`), "field a: type \"Money\" is not known", "", ""},
		"a type that is a number":              {record(`{"name":"a","type":7},`), "field a: a type is a number, must be a name, an object or a list", "", ""},
		"a field without a type":               {record(`{"name":"a"},`), "field a: a type is null, must be a name, an object or a list", "", ""},
		"a field that is a text":               {record(`"a",`), "record \"Order\": a field has no name of its own", "", ""},
		"two fields of one name":               {record(`{"name":"price","type":"int"},`), "record \"Order\": a field has no name of its own", "", ""},
		"no fields":                            {`{"type":"record","name":"Order"}`, "record \"Order\": fields are null, must be a list", "", ""},
		"no symbols":                           {record(`{"name":"a","type":{"type":"enum","name":"E","symbols":{}}},`), "enum \"E\": symbols are an object, must be a list", "", ""},
		"no items":                             {record(`{"name":"a","type":{"type":"array"}},`), "field a: items of array: a type is null", "", ""},
		"no name":                              {`{"type":"record","fields":[]}`, "record: has no name", "", ""},
		"a name that is used twice":            {record(`{"name":"a","type":{"type":"enum","name":"Order","symbols":["A"]}},`), "type \"Order\" is defined twice", "", ""},
		"a field's name that moves the cursor": {record(`{"name":"a\u001b[2J","type":"Money"},`), `field "a\x1b[2J": type "Money" is not known`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bounded.Memory(t, 8*len(c.text), func() {
				s, err := order.ParseSchema(c.text)
				if err == nil {
					_, err = order.NewDecoder(current(t), s)
				}
				requireError(t, err, c.decoder)
			})
			if c.encoder == "" && c.compared == "" {
				c.encoder, c.compared = c.decoder, c.decoder
			}
			bounded.Memory(t, 8*len(c.text), func() {
				s, err := order.ParseSchema(c.text)
				if err == nil {
					_, err = order.NewEncoder(s)
				}
				requireError(t, err, c.encoder)
			})
			bounded.Memory(t, 8*len(c.text), func() { requireError(t, order.CanRead(c.text, c.text), c.compared) })
		})
	}
}

func requireError(t *testing.T, err error, contained string) {
	t.Helper()
	if contained == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, contained)
}

// Skipping costs steps by the bytes of the record, not by what a schema makes of them.
func TestRecordsThatAttack(t *testing.T) {
	var chain, nulls strings.Builder
	chain.WriteString(`{"name":"c0","type":{"type":"record","name":"C0","fields":[{"name":"x","type":"boolean"}]}},`)
	for i := 1; i < 3000; i++ {
		fmt.Fprintf(&chain, `{"name":"c%d","type":{"type":"record","name":"C%d","fields":[{"name":"x","type":"C%d"}]}},`, i, i, i-1)
	}
	for i := range 5000 {
		fmt.Fprintf(&nulls, `{"name":"n%d","type":"null"},`, i)
	}
	const size = 2 << 20
	block := "\x80\x80\x80\x02" // two million, in zigzag
	for name, c := range map[string]struct{ fields, data, want string }{
		"types that double, without a byte": {doubling(`{"name":"x","type":"null"}`, 60), sample, ""},
		"types that double, and a byte":     {doubling(`{"name":"x","type":"boolean"}`, 60), strings.Repeat("\x00", size), "field d21: record ends after 0 of 1 bytes"},
		"a block of the greatest count of nothing": {
			`{"name":"a","type":{"type":"array","items":"null"}},`, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00" + sample, "",
		},
		"an array of a record of 5,000 nulls and a boolean": {
			`{"name":"a","type":{"type":"array","items":{"type":"record","name":"N","fields":[` + nulls.String() + `{"name":"x","type":"boolean"},{"name":"y","type":"boolean"}]}}},`,
			"\x80\x80\x80\x01" + strings.Repeat("\x01", size) + "\x00" + sample, "",
		},
		"an array of records within records": {
			chain.String() + `{"name":"a","type":{"type":"array","items":"C2999"}},`,
			strings.Repeat("\x01", 3000) + block + strings.Repeat("\x01", size) + "\x00" + sample, "",
		},
		"a list of a million":          {`{"name":"next","type":["null","Order"]},`, strings.Repeat("\x02", size), "field next: values are nested deeper than 10000 levels"},
		"a tree that doubles for ever": {`{"name":"t","type":{"type":"record","name":"T","fields":[{"name":"a","type":"T"},{"name":"b","type":"T"}]}},`, sample, "field t: values are nested deeper than 10000 levels"},
		"a fixed of 2 GB":              {`{"name":"f","type":{"type":"fixed","name":"F","size":2147483647}},`, sample, "field f: record ends after 16 of 2147483647 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			d := decoder(t, current(t), parse(t, record(c.fields)))
			bounded.Memory(t, len(c.data), func() {
				_, err := d.Decode([]byte(c.data))
				requireError(t, err, c.want)
			})
		})
	}
}

func TestAListOfFiveThousandIsReadAndNoLongerOne(t *testing.T) {
	d := decoder(t, current(t), parse(t, record(`{"name":"list","type":{"type":"record","name":"L","fields":[{"name":"x","type":"int"},{"name":"next","type":["null","L"]}]}},`)))
	o, err := d.Decode([]byte(strings.Repeat("\x02\x02", 4_999) + "\x02\x00" + sample))
	require.NoError(t, err)
	require.Equal(t, sampleOrder, o)
	_, err = d.Decode([]byte(strings.Repeat("\x02\x02", 5_000) + "\x02\x00" + sample))
	require.EqualError(t, err, "field list: values are nested deeper than 10000 levels")
}
