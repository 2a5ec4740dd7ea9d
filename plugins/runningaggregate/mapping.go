package runningaggregate

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/query"
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
		return query.Value(msg, m.exec)
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
