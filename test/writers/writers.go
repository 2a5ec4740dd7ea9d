// Package writers makes up Avro schemas that others may write orders with, records of them, and
// what a reader has to make of each. It has an encoder of its own, so that it shares no code with
// what it tests.
package writers

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/order"
)

// Incompatible is the outcome of a schema that no record can be read of.
const Incompatible = "schema_incompatible"

// Case is a record, and the schema that it was written with.
type Case struct {
	Schema string
	Record []byte
	// Want is the order that it is, unless Code says why it is none: Incompatible, or the code of an
	// error.
	Want order.Order
	Code string
	// OtherName tells that the record's type is not named as the reader's, which Python's library
	// does not take; Decimal that the price was written as a decimal, which neither Java's nor
	// Python's reads as a double.
	OtherName, Decimal bool
}

// Draw makes up a case.
func Draw(t *rapid.T) Case {
	g := &generator{t: t, writes: map[string]func([]byte) []byte{}}
	return g.draw()
}

type generator struct {
	t     *rapid.T
	level int
	names int
	// The namespace that a name without one is in.
	namespace string
	// How values of types are written, by their full names; and which of them are in the schema, so
	// that later ones may refer to them.
	writes map[string]func([]byte) []byte
	known  []string
}

// typ is a schema as JSON, and how a value of it is made up and written.
type typ struct {
	schema any
	write  func([]byte) []byte
	kind   string // for a union, that takes one of each
}

func (g *generator) int(least, most int) int { return rapid.IntRange(least, most).Draw(g.t, "n") }

func (g *generator) chance(percent int) bool { return g.int(1, 100) <= percent }

func pick[T any](g *generator, of ...T) T { return rapid.SampledFrom(of).Draw(g.t, "pick") }

type doc = map[string]any

// name is one that nobody has yet, now and then in a namespace or another script.
func (g *generator) name() string {
	g.names++
	return pick(g, "T", "T", "Größe", "com.example.T", "a.b_c.T") + strconv.Itoa(g.names)
}

func (g *generator) draw() Case {
	c := Case{Record: []byte{}}
	name := "Order"
	if g.chance(25) {
		name, c.OtherName = pick(g, "Purchase", "Bestellung", "com.example.Purchase"), true
	} else if g.chance(25) {
		name = "com.example.Order"
	}
	g.namespace = within(name, "")
	id, idCode := g.text(&c.Want.ID, order.CodeIDMissing, order.CodeIDInvalid)
	product, productCode := g.text(&c.Want.Product, order.CodeProductMissing, order.CodeProductInvalid)
	price, priceCode := g.price(&c)
	type field struct {
		doc   doc
		write func([]byte) []byte
		code  string
	}
	fields := []field{
		{doc{"name": order.FieldID, "type": id.schema}, id.write, idCode},
		{doc{"name": order.FieldProduct, "type": product.schema}, product.write, productCode},
		{doc{"name": order.FieldPrice, "type": price.schema}, price.write, priceCode},
	}
	missing := g.chance(3)
	if missing {
		fields = fields[:g.int(0, 2)]
	}
	own := len(fields)
	for range g.int(0, 5) {
		extra := g.any()
		g.learn(extra.schema, g.namespace)
		g.names++
		fields = append(fields, field{doc{"name": pick(g, "extra", "größe", "price_") + strconv.Itoa(g.names), "type": extra.schema}, extra.write, ""})
	}
	if g.chance(20) { // a field of the order's own type, which is empty
		list := pick[any](g, []any{"null", name}, doc{"type": "array", "items": name}, doc{"type": "map", "values": name})
		fields = append(fields, field{doc{"name": "again", "type": list}, func(b []byte) []byte { return append(b, 0) }, ""})
	}
	// The order's own fields come anywhere; the others as they are, since they refer to each other.
	for from := own - 1; from >= 0; from-- {
		if to := g.int(0, len(fields)-1); from < to {
			f := fields[from]
			copy(fields[from:to], fields[from+1:to+1])
			fields[to] = f
		}
	}
	docs := []any{}
	for _, f := range fields {
		g.decorate(f.doc)
		docs = append(docs, f.doc)
		c.Record = f.write(c.Record)
		if c.Code == "" || f.code == Incompatible {
			c.Code = f.code
		}
	}
	root := any(doc{"type": pick(g, "record", "record", "record", "error"), "name": name, "fields": docs, "doc": "an order", "owner": []any{1, nil}})
	if c.Code == Incompatible || missing {
		c.Code = Incompatible
	} else if g.chance(10) {
		root, c.Record = []any{"null", "int", root}, append([]byte{4}, c.Record...)
	}
	text, err := json.Marshal(root)
	if err != nil {
		g.t.Fatal(err)
	}
	c.Schema = string(text)
	if c.Code != "" {
		c.Want = order.Order{}
	}
	return c
}

// learn makes those types known that a schema defines which is part of the whole.
func (g *generator) learn(schema any, namespace string) {
	switch s := schema.(type) {
	case []any:
		for _, t := range s {
			g.learn(t, namespace)
		}
	case doc:
		if name, ok := s["name"].(string); ok {
			g.known = append(g.known, full(name, namespace))
			namespace = within(name, namespace)
		}
		g.learn(s["items"], namespace)
		g.learn(s["values"], namespace)
		fields, _ := s["fields"].([]any)
		for _, f := range fields {
			g.learn(f.(doc)["type"], namespace)
		}
	}
}

// full is the full name of a type, and within the namespace that its parts are in.
func full(name, namespace string) string {
	if namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}

func within(name, namespace string) string {
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		return name[:dot]
	}
	return namespace
}

// decorate adds what does not matter to what is written.
func (g *generator) decorate(f doc) {
	if g.chance(20) {
		f["default"] = pick[any](g, nil, 7, "x", true, []any{}, doc{}, -1.5)
	}
	if g.chance(10) {
		f["doc"], f["order"] = "told", pick(g, "ignore", "descending")
	}
	if g.chance(10) {
		f["aliases"] = []any{"former"}
	}
}

// text makes a field that an order has as a string.
func (g *generator) text(want *string, missing, invalid string) (typ, string) {
	value := rapid.StringN(0, 20, 200).Draw(g.t, "text")
	*want = value
	write := func(b []byte) []byte { return text(b, value) }
	fit := pick[any](g, "string", "string", "bytes", doc{"type": "string", "avro.java.string": "String"}, doc{"type": "bytes", "logicalType": "made-up"})
	unfit := []typ{g.primitive("int"), g.primitive("double"), g.primitive("boolean"), {"null", none, "null"}, g.enum(), g.fixed(), g.array()}
	return g.field(typ{fit, write, kindOf(fit)}, unfit, missing, invalid)
}

// price makes the field that an order has as a double.
func (g *generator) price(c *Case) (typ, string) {
	f := rapid.Float64().Draw(g.t, "price")
	i, l := rapid.Int32().Draw(g.t, "int"), rapid.Int64().Draw(g.t, "long")
	f32 := rapid.Float32().Draw(g.t, "float")
	var fit typ
	switch pick(g, "double", "double", "int", "long", "float", "decimal", "fixed", "date") {
	case "int":
		c.Want.Price, fit = float64(i), typ{"int", func(b []byte) []byte { return binary.AppendVarint(b, int64(i)) }, "int"}
	case "long":
		c.Want.Price, fit = float64(l), typ{"long", func(b []byte) []byte { return binary.AppendVarint(b, l) }, "long"}
	case "float":
		c.Want.Price, fit = float64(f32), typ{"float", func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, math.Float32bits(f32)) }, "float"}
	case "date":
		c.Want.Price, fit = float64(i), typ{doc{"type": "int", "logicalType": "date"}, func(b []byte) []byte { return binary.AppendVarint(b, int64(i)) }, "int"}
	case "decimal", "fixed":
		raw := rapid.SliceOfN(rapid.Byte(), 1, 12).Draw(g.t, "raw")
		scale := g.int(0, 20)
		c.Decimal = true
		c.Want.Price = decimal(raw, scale)
		s := doc{"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": scale}
		fit = typ{s, func(b []byte) []byte { return text(b, string(raw)) }, "bytes"}
		if g.chance(40) {
			for len(raw) < 13 {
				raw = append([]byte{byte(int8(raw[0]) >> 7)}, raw...)
			}
			s["type"], s["name"], s["size"] = "fixed", g.name(), 13
			fit = typ{s, func(b []byte) []byte { return append(b, raw...) }, "fixed"}
		}
	default:
		c.Want.Price, fit = f, typ{"double", func(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, math.Float64bits(f)) }, "double"}
	}
	unfit := []typ{g.primitive("string"), g.primitive("boolean"), {"null", none, "null"}, g.enum(), g.array()}
	if fit.kind != "bytes" {
		unfit = append(unfit, g.primitive("bytes"))
	}
	if fit.kind != "fixed" {
		unfit = append(unfit, g.fixed())
	}
	return g.field(fit, unfit, order.CodePriceMissing, order.CodePriceInvalid)
}

// field makes a field's type of one that fits and of others that do not: the one alone, or a union,
// or now and then one that does not fit.
func (g *generator) field(fit typ, unfit []typ, missing, invalid string) (typ, string) {
	switch n := g.int(1, 100); {
	case n <= 50:
		return fit, ""
	case n <= 54:
		return pick(g, unfit...), Incompatible
	}
	branches := []typ{fit}
	kinds := map[string]bool{fit.kind: true}
	for range g.int(0, 3) {
		if u := pick(g, unfit...); !kinds[u.kind] {
			kinds[u.kind] = true
			branches = append(branches, u)
		}
	}
	var types []any
	chosen := 0
	if len(branches) > 1 && g.chance(25) {
		chosen = g.int(1, len(branches)-1)
	}
	at := g.int(0, len(branches)-1)
	branches[0], branches[at] = branches[at], branches[0]
	switch chosen {
	case 0:
		chosen = at
	case at:
		chosen = 0
	}
	for _, b := range branches {
		types = append(types, b.schema)
	}
	code := ""
	switch {
	case chosen == at:
	case branches[chosen].kind == "null":
		code = missing
	default:
		code = invalid
	}
	return typ{types, func(b []byte) []byte { return branches[chosen].write(binary.AppendVarint(b, int64(chosen))) }, "union"}, code
}

// any makes a type of whatever kind, that a reader has to skip.
func (g *generator) any() typ {
	g.level++
	defer func() { g.level-- }()
	kinds := []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string", "enum", "fixed", "logical", "known"}
	if g.level <= 3 {
		kinds = append(kinds, "array", "map", "union", "record", "list", "tree")
	}
	switch k := pick(g, kinds...); k {
	case "null":
		return typ{pick[any](g, "null", doc{"type": "null"}), none, "null"}
	case "enum":
		return g.enum()
	case "fixed":
		return g.fixed()
	case "logical":
		p := pick(g, [2]string{"int", "date"}, [2]string{"int", "time-millis"}, [2]string{"long", "timestamp-micros"}, [2]string{"string", "made-up"}, [2]string{"bytes", "decimal"})
		t := g.primitive(p[0])
		t.schema = doc{"type": p[0], "logicalType": p[1], "precision": 4, "scale": 2}
		return t
	case "known":
		if len(g.known) == 0 {
			return g.primitive("int")
		}
		name := pick(g, g.known...)
		if g.namespace != "" && !strings.Contains(name, ".") {
			return g.primitive("int") // it cannot be named from here
		}
		return typ{name, g.writes[name], name}
	case "array":
		return g.array()
	case "map":
		values := g.any()
		return typ{doc{"type": "map", "values": values.schema}, func(b []byte) []byte {
			n := g.int(0, 2)
			if n > 0 {
				b = binary.AppendVarint(b, int64(n))
				for i := range n {
					b = values.write(text(b, strconv.Itoa(i)))
				}
			}
			return append(b, 0)
		}, "map"}
	case "union":
		return g.union()
	case "record":
		return g.record()
	case "list", "tree":
		return g.recursive(k)
	default:
		return g.primitive(k)
	}
}

func (g *generator) primitive(name string) typ {
	return typ{name, func(b []byte) []byte {
		switch name {
		case "boolean":
			return append(b, byte(g.int(0, 1)))
		case "int":
			return binary.AppendVarint(b, int64(rapid.Int32().Draw(g.t, "int")))
		case "long":
			return binary.AppendVarint(b, rapid.Int64().Draw(g.t, "long"))
		case "float":
			return binary.LittleEndian.AppendUint32(b, math.Float32bits(rapid.Float32().Draw(g.t, "float")))
		case "double":
			return binary.LittleEndian.AppendUint64(b, math.Float64bits(rapid.Float64().Draw(g.t, "double")))
		case "bytes":
			return text(b, string(rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(g.t, "bytes")))
		default:
			return text(b, rapid.StringN(0, 9, 30).Draw(g.t, "string"))
		}
	}, name}
}

func (g *generator) define(s doc, kind string, write func([]byte) []byte) typ {
	name := full(s["name"].(string), g.namespace)
	g.writes[name] = write
	return typ{s, write, kind + name}
}

func (g *generator) enum() typ {
	n := g.int(1, 4)
	all := []any{"A", "B", "C", "D"}[:n]
	return g.define(doc{"type": "enum", "name": g.name(), "symbols": all, "default": "A"}, "enum", func(b []byte) []byte {
		return binary.AppendVarint(b, int64(g.int(0, n-1)))
	})
}

func (g *generator) fixed() typ {
	n := g.int(0, 9)
	return g.define(doc{"type": "fixed", "name": g.name(), "size": n}, "fixed", func(b []byte) []byte {
		return append(b, rapid.SliceOfN(rapid.Byte(), n, n).Draw(g.t, "fixed")...)
	})
}

// array writes its items in blocks, some of which tell their size.
func (g *generator) array() typ {
	items := g.any()
	return typ{doc{"type": "array", "items": items.schema}, func(b []byte) []byte {
		for range g.int(0, 2) {
			n := g.int(1, 3)
			var block []byte
			for range n {
				block = items.write(block)
			}
			if g.chance(30) {
				b = binary.AppendVarint(binary.AppendVarint(b, int64(-n)), int64(len(block)))
			} else {
				b = binary.AppendVarint(b, int64(n))
			}
			b = append(b, block...)
		}
		return append(b, 0)
	}, "array"}
}

func (g *generator) union() typ {
	var branches []typ
	kinds := map[string]bool{}
	for range g.int(1, 4) {
		if t := g.any(); t.kind != "union" && !kinds[t.kind] {
			kinds[t.kind] = true
			branches = append(branches, t)
		}
	}
	if len(branches) == 0 {
		return g.primitive("int")
	}
	var types []any
	for _, b := range branches {
		types = append(types, b.schema)
	}
	return typ{types, func(b []byte) []byte {
		n := g.int(0, len(branches)-1)
		return branches[n].write(binary.AppendVarint(b, int64(n)))
	}, "union"}
}

func (g *generator) record() typ {
	var fields []any
	var writes []func([]byte) []byte
	name := g.name()
	outer := g.namespace
	g.namespace = within(name, outer)
	for i := range g.int(0, 3) {
		t := g.any()
		f := doc{"name": fmt.Sprintf("f%d", i), "type": t.schema}
		g.decorate(f)
		fields, writes = append(fields, f), append(writes, t.write)
	}
	if fields == nil {
		fields = []any{}
	}
	g.namespace = outer
	return g.define(doc{"type": "record", "name": name, "fields": fields}, "record", func(b []byte) []byte {
		for _, w := range writes {
			b = w(b)
		}
		return b
	})
}

// recursive makes a list or a tree.
func (g *generator) recursive(kind string) typ {
	name := g.name()
	var write func(b []byte, level int) []byte
	s := doc{"type": "record", "name": name, "fields": []any{doc{"name": "x", "type": "int"}, doc{"name": "next", "type": []any{"null", name}, "default": nil}}}
	write = func(b []byte, level int) []byte {
		if b = append(b, 2); level > 3 || g.chance(40) {
			return append(b, 0)
		}
		return write(append(b, 2), level+1)
	}
	if kind == "tree" {
		s["fields"] = []any{doc{"name": "kids", "type": doc{"type": "array", "items": name}}}
		write = func(b []byte, level int) []byte {
			if n := g.int(0, 2); n > 0 && level < 3 {
				b = binary.AppendVarint(b, int64(n))
				for range n {
					b = write(b, level+1)
				}
			}
			return append(b, 0)
		}
	}
	return g.define(s, "record", func(b []byte) []byte { return write(b, 0) })
}

func none(b []byte) []byte { return b }

func text(b []byte, s string) []byte { return append(binary.AppendVarint(b, int64(len(s))), s...) }

func kindOf(schema any) string {
	if d, ok := schema.(doc); ok {
		return d["type"].(string)
	}
	return schema.(string)
}

// decimal is the nearest number of 64 bits to the bytes of a decimal.
func decimal(raw []byte, scale int) float64 {
	n := new(big.Int).SetBytes(raw)
	if raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	f, _ := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).Float64()
	return f
}
