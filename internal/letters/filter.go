package letters

import (
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/metadata"
	"github.com/orderflow/orderflow/internal/query"
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
	metadata.SetHeaders(m, l.Record.Headers)
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
	yes, err := query.Bool(l.Message(), f.query)
	if err != nil {
		return false, fmt.Errorf("asking of %s: %w", l.Place, err)
	}
	return yes, nil
}
