package letters

import (
	"errors"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/deadletter"
)

// Message is the letter as a mapping sees it: `this` is the decoded order, null where it cannot be
// decoded, and `@` are the headers as text, with the native ones filled in from any dialect. Of a
// header that repeats the last value counts, a null one is null.
func (l *Letter) Message() *service.Message {
	var m *service.Message
	if l.Order == nil {
		m = service.NewMessage([]byte("null"))
	} else {
		m = service.NewMessage(nil)
		m.SetStructuredMut(l.Order.Map())
	}
	for _, h := range l.Record.Headers {
		if h.Value == nil {
			m.MetaSetMut(h.Key, nil)
		} else {
			m.MetaSetMut(h.Key, string(h.Value))
		}
	}
	for _, h := range l.Headers(deadletter.Native) {
		m.MetaSetMut(h.Name, string(h.Value))
	}
	return m
}

// Filter is a Bloblang query that chooses letters.
type Filter struct{ query *bloblang.Executor }

// ParseFilter parses a query such as `@dlq_code == "price_invalid" && this.price > 100`.
func ParseFilter(text string) (*Filter, error) {
	query, err := bloblang.Parse(text)
	if err != nil {
		return nil, err
	}
	return &Filter{query}, nil
}

// Matches tells whether the query is true of a letter. A query that fails, or gives no boolean,
// is an error: the caller decides on it, and had better not take it for a yes.
func (f *Filter) Matches(l *Letter) (bool, error) {
	// In BloblangQueryValue, which would be simpler, there is no `this`.
	answer, err := l.Message().BloblangQuery(f.query)
	if err != nil {
		return false, fmt.Errorf("asking of %s: %w", l.Place, err)
	}
	if answer == nil {
		return false, fmt.Errorf("asking of %s: %w", l.Place, errors.New("the query deletes, expected a boolean"))
	}
	if answer.HasStructured() { // the text "true" is bytes
		if v, err := answer.AsStructured(); err == nil {
			if yes, ok := v.(bool); ok {
				return yes, nil
			}
		}
	}
	text, err := answer.AsBytes()
	if err != nil {
		return false, fmt.Errorf("asking of %s: expected a boolean: %w", l.Place, err)
	}
	return false, fmt.Errorf("asking of %s: got %.100q, expected a boolean", l.Place, text)
}
