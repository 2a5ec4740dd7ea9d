package runningaggregate

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// plainPath matches mappings that only walk down objects: this, this.price, this.order.price.
var plainPath = regexp.MustCompile(`^this(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

// mapping reads a value from a message. Plain paths are walked without Bloblang, which costs
// several times as much as all the rest that is done to a message here.
type mapping struct {
	text string
	path []string           // of a plain path
	exec *bloblang.Executor // of any other mapping
}

func mappingFromParsed(parsed *service.ParsedConfig, field string) (m mapping, err error) {
	if m.text, err = parsed.FieldString(field); err != nil {
		return m, fmt.Errorf("field %s: %w", field, err)
	}
	m.text = strings.TrimSpace(m.text)
	if m.text == "" {
		return m, nil
	}
	if m.exec, err = parsed.FieldBloblang(field); err != nil {
		return m, fmt.Errorf("field %s: %q is not allowed, allowed is a Bloblang mapping: %w", field, m.text, err)
	}
	if plainPath.MatchString(m.text) {
		m.exec, m.path = nil, strings.Split(m.text, ".")[1:]
	}
	return m, nil
}

// of returns the value of a message, nil if it has none.
func (m mapping) of(msg *service.Message) (any, error) {
	if m.exec != nil {
		return m.query(msg)
	}
	v, err := msg.AsStructured()
	if err != nil {
		return nil, fmt.Errorf("reading message as JSON: %w", err)
	}
	for _, key := range m.path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, nil
		}
		v = object[key]
	}
	return v, nil
}

// query runs the mapping. The host's BloblangQueryValue would suit, but it gives a mapping no
// `this`; so the value is taken from the message that the mapping makes, where a string is raw
// bytes and null is the word.
func (m mapping) query(msg *service.Message) (any, error) {
	out, err := msg.BloblangQuery(m.exec)
	if err != nil || out == nil {
		return nil, err
	}
	if out.HasStructured() {
		return out.AsStructured()
	}
	b, err := out.AsBytes()
	if err != nil || string(b) == "null" {
		return nil, err
	}
	return string(b), nil
}

// groupName is the name of the group that a value stands for.
func groupName(v any) string {
	var name string
	switch v := v.(type) {
	case nil:
	case string:
		name = v
	default:
		name = bloblang.ValueToString(v)
	}
	if name == "" {
		return noGroup
	}
	return name
}
