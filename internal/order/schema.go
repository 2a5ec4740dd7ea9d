package order

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
)

// Bounds of a schema, since it comes from a registry and may be anything. A registry on Kafka keeps
// a schema in one record, which is 1 MB at most by default.
const (
	maxSchemaSize = 1 << 20
	// maxDepth is how deep types may be nested within each other's text.
	maxDepth = 64
	maxTypes = 10_000
)

// Schema is a parsed Avro schema. It never changes.
type Schema struct {
	text string
	root *layout
}

// ParseSchema parses a schema. References are the schemas whose named types it uses, each after
// those that it uses itself.
//
// It reads what a schema says of bytes, and is as lenient as Java's Avro with the rest: wrong
// defaults or odd names do not matter to what was written. The Avro library is not asked, since it
// panics at some schemas and takes minutes for others.
func ParseSchema(text string, references ...string) (*Schema, error) {
	p := &parser{named: map[string]*layout{}}
	for i, ref := range references {
		if _, err := p.parse(ref); err != nil {
			return nil, fmt.Errorf("parsing schema: reference %d: %w", i+1, err)
		}
	}
	root, err := p.parse(text)
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		return nil, fmt.Errorf("parsing schema: %w", err)
	}
	return &Schema{text: text, root: root}, nil
}

// String returns the schema's text as it was parsed.
func (s *Schema) String() string { return s.text }

// parser makes layouts of the JSON of schemas.
type parser struct {
	named map[string]*layout // by full name
	here  map[string]bool    // those that the present text has defined
	all   []*layout
}

func (p *parser) parse(text string) (*layout, error) {
	if len(text) > maxSchemaSize {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(text), maxSchemaSize)
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	p.here = map[string]bool{}
	return p.layout(v, "", 0)
}

// layout makes the layout of a type that stands in a namespace.
func (p *parser) layout(v any, namespace string, depth int) (*layout, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("types are nested deeper than %d levels", maxDepth)
	}
	switch v := v.(type) {
	case string:
		return p.byName(v, namespace)
	case []any:
		return p.union(v, namespace, depth)
	case map[string]any:
		name, ok := v["type"].(string)
		if !ok {
			return p.layout(v["type"], namespace, depth+1)
		}
		return p.object(name, v, namespace, depth)
	}
	return nil, fmt.Errorf("a type is %s, must be a name, an object or a list", kind(v))
}

func (p *parser) byName(name, namespace string) (*layout, error) {
	if t, ok := primitives[name]; ok {
		return p.add(&layout{typ: t})
	}
	for _, full := range []string{fullName(name, namespace), name} {
		if l, ok := p.named[full]; ok {
			return l, nil
		}
	}
	return nil, fmt.Errorf("type %s is not known", Clip(name))
}

func (p *parser) union(branches []any, namespace string, depth int) (*layout, error) {
	l, err := p.add(&layout{typ: typeUnion})
	if err != nil {
		return nil, err
	}
	for _, v := range branches {
		branch, err := p.layout(v, namespace, depth+1)
		if err != nil {
			return nil, err
		}
		if branch.typ == typeUnion {
			return nil, errors.New("a union is directly within a union")
		}
		l.inner = append(l.inner, branch)
	}
	return l, nil
}

func (p *parser) object(name string, v map[string]any, namespace string, depth int) (l *layout, err error) {
	switch name {
	case "record", "error":
		return p.record(v, namespace, depth)
	case "enum":
		if l, _, err = p.define(&layout{typ: typeEnum}, v, namespace); err != nil {
			return nil, err
		}
		symbols, ok := v["symbols"].([]any)
		if !ok {
			return nil, fmt.Errorf("enum %s: symbols are %s, must be a list", Clip(l.name), kind(v["symbols"]))
		}
		l.size = len(symbols)
	case "fixed":
		if l, _, err = p.define(&layout{typ: typeFixed}, v, namespace); err != nil {
			return nil, err
		}
		if l.size, err = whole(v["size"], 0); err != nil {
			return nil, fmt.Errorf("fixed %s: size is %w", Clip(l.name), err)
		}
	case "array", "map":
		part, typ := "items", typeArray
		if name == "map" {
			part, typ = "values", typeMap
		}
		if l, err = p.add(&layout{typ: typ}); err != nil {
			return nil, err
		}
		items, err := p.layout(v[part], namespace, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", part, name, err)
		}
		l.inner = []*layout{items}
	default:
		if l, err = p.byName(name, namespace); err != nil {
			return nil, err
		}
	}
	if v["logicalType"] == "decimal" && (name == "bytes" || name == "fixed") {
		// One that is not valid is none, and the type is what it is without.
		precision, err := whole(v["precision"], 1)
		scale := 0
		if v["scale"] != nil && err == nil {
			scale, err = whole(v["scale"], 0)
		}
		l.decimal, l.scale = err == nil && scale <= precision, scale
	}
	return l, nil
}

func (p *parser) record(v map[string]any, namespace string, depth int) (*layout, error) {
	l, namespace, err := p.define(&layout{typ: typeRecord}, v, namespace)
	if err != nil {
		return nil, err
	}
	fields, ok := v["fields"].([]any)
	if !ok {
		return nil, fmt.Errorf("record %s: fields are %s, must be a list", Clip(l.name), kind(v["fields"]))
	}
	names := map[string]bool{}
	for _, v := range fields {
		doc, _ := v.(map[string]any)
		f := field{}
		if f.name, _ = doc["name"].(string); f.name == "" || names[f.name] {
			return nil, fmt.Errorf("record %s: a field has no name of its own", Clip(l.name))
		}
		names[f.name] = true
		if f.layout, err = p.layout(doc["type"], namespace, depth+1); err != nil {
			return nil, fmt.Errorf("field %s: %w", plain(f.name), err)
		}
		f.def, f.hasDef = doc["default"]
		aliases, _ := doc["aliases"].([]any)
		for _, a := range aliases {
			if a, ok := a.(string); ok {
				f.aliases = append(f.aliases, a)
			}
		}
		l.fields = append(l.fields, f)
	}
	return l, nil
}

// define gives a layout the name that the schema says, and returns the namespace within it.
func (p *parser) define(l *layout, v map[string]any, namespace string) (*layout, string, error) {
	name, _ := v["name"].(string)
	if name == "" {
		return nil, "", fmt.Errorf("%s: has no name", l.typ)
	}
	if own, ok := v["namespace"].(string); ok {
		namespace = own
	}
	l.name = fullName(name, namespace)
	if p.here[l.name] {
		return nil, "", fmt.Errorf("type %s is defined twice", Clip(l.name))
	}
	p.here[l.name], p.named[l.name] = true, l
	within := ""
	if dot := strings.LastIndexByte(l.name, '.'); dot >= 0 {
		within = l.name[:dot]
	}
	l, err := p.add(l)
	return l, within, err
}

func (p *parser) add(l *layout) (*layout, error) {
	if p.all = append(p.all, l); len(p.all) > maxTypes {
		return nil, fmt.Errorf("it has more than %d types", maxTypes)
	}
	return l, nil
}

// finish prepares the layouts for being skipped, once all are known.
func (p *parser) finish() error {
	for _, l := range p.all {
		l.parts = l.inner
		if l.typ == typeRecord {
			for _, f := range l.fields {
				if !f.layout.isEmpty() {
					l.parts = append(l.parts, f.layout)
				}
			}
		}
	}
	for _, l := range p.all {
		parts := make([]*layout, len(l.parts))
		for i, part := range l.parts {
			// A record with one part is skipped as that part is, so that a chain of them is one step.
			for n := 0; part.typ == typeRecord && len(part.parts) == 1; n++ {
				if n > len(p.all) {
					return fmt.Errorf("record %s contains itself without end", Clip(part.name))
				}
				part = part.parts[0]
			}
			parts[i] = part
		}
		l.parts = parts
	}
	return nil
}

// plain is a name of a schema for use in an error: as it is, if it is one that needs no quotes.
func plain(name string) string {
	const most = 64
	odd := strings.ContainsFunc(name, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if odd || name == "" || len(name) > most {
		return Clip(name)
	}
	return name
}

func fullName(name, namespace string) string {
	if namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}

// whole returns a number of JSON that is whole and not below least.
func whole(v any, least int) (int, error) {
	n, ok := v.(float64)
	if !ok {
		return 0, fmt.Errorf("%s, must be a number", kind(v))
	}
	if n != math.Trunc(n) || n < float64(least) || n > math.MaxInt32 {
		return 0, fmt.Errorf("%v, must be a whole number from %d to %d", n, least, math.MaxInt32)
	}
	return int(n), nil
}
