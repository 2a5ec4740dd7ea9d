// Package calls makes child processors of functions, for tests of processors that have children.
package calls

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// Func is what a child does with a message.
type Func func(context.Context, *service.Message) (service.MessageBatch, error)

// Process calls the function.
func (f Func) Process(ctx context.Context, m *service.Message) (service.MessageBatch, error) {
	return f(ctx, m)
}

// Close does nothing.
func (Func) Close(context.Context) error { return nil }

var (
	known sync.Map // functions by name
	named atomic.Int64
)

func init() {
	service.MustRegisterProcessor("test_call", service.NewConfigSpec().Field(service.NewStringField("name")),
		func(conf *service.ParsedConfig, _ *service.Resources) (service.Processor, error) {
			name, err := conf.FieldString("name")
			if err != nil {
				return nil, err
			}
			f, ok := known.Load(name)
			if !ok {
				return nil, fmt.Errorf("field name: %q: its test is over", name)
			}
			return f.(Func), nil
		})
}

// Child is the YAML of a processor that calls f, for the length of a test.
func Child(t testing.TB, f Func) string {
	name := fmt.Sprintf("%s/%d", t.Name(), named.Add(1))
	known.Store(name, f)
	t.Cleanup(func() { known.Delete(name) })
	return fmt.Sprintf("{test_call: {name: %q}}", name)
}
