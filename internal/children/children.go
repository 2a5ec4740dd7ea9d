// Package children runs the child processors of a processor of ours on one message, one child
// after the other, and tells which of them failed. A message that failed skips the children
// that follow, in both error-handling modes of the host: the host tells a plugin not which
// mode it is in, and this is what strict mode does.
//
// A Chain is safe for concurrent use, as its children are.
package children

import (
	"context"
	"errors"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
	"gopkg.in/yaml.v3"

	"github.com/orderflow/orderflow/internal/failure"
)

// Chain is a list of child processors.
type Chain struct {
	procs []*service.OwnedProcessor
	names []string
}

// Failure is what ended a run.
type Failure struct {
	Err error
	// Stage is the label of the component that failed, else its name.
	Stage string
	// Message carries the error, so that Bloblang's error() works on it.
	Message *service.Message
}

// FromParsed takes the children from a field made with service.NewProcessorListField.
func FromParsed(conf *service.ParsedConfig, field string) (*Chain, error) {
	procs, err := conf.FieldProcessorList(field)
	if err != nil {
		return nil, err
	}
	raw, err := conf.FieldAny(field)
	if err != nil {
		return nil, err
	}
	c := &Chain{procs: procs, names: make([]string, len(procs))}
	list, _ := raw.([]any)
	for i := range procs {
		if i < len(list) {
			c.names[i] = nameOf(list[i])
		}
		if c.names[i] == "catch" {
			return nil, fmt.Errorf("field %s.%d: catch: it would never run, since a message that failed skips the processors that follow; use try_catch around the processors that may fail", field, i)
		}
	}
	return c, nil
}

// nameOf reads the label, else the type, of a component from its configuration. The host
// hands a plugin its children without names.
func nameOf(conf any) string {
	if node, ok := conf.(*yaml.Node); ok {
		var m map[string]any
		if node.Decode(&m) != nil {
			return ""
		}
		conf = m
	}
	m, _ := conf.(map[string]any)
	if label, _ := m["label"].(string); label != "" {
		return label
	}
	for _, explicit := range []string{"type", "plugin"} {
		if name, ok := m[explicit].(string); ok {
			return name
		}
	}
	if resource, ok := m["resource"].(string); ok {
		return resource
	}
	for name := range m {
		if name != "label" {
			return name
		}
	}
	return ""
}

// Len returns the number of children.
func (c *Chain) Len() int { return len(c.procs) }

// Run processes msg, which the children may change. It returns what comes out of the last
// child, which is nothing if a child dropped it, or the first failure: if a child makes
// several messages of one, the failure of any of them counts for all. The error is that of a
// context that ended; the message must then be neither acknowledged nor dead-lettered.
func (c *Chain) Run(ctx context.Context, msg *service.Message) (service.MessageBatch, *Failure, error) {
	now := service.MessageBatch{msg}
	for i, proc := range c.procs {
		var next service.MessageBatch
		if len(now) == 1 {
			out, err := proc.Process(ctx, now[0])
			if err != nil {
				return nil, nil, err
			}
			next = out
		} else {
			batches, err := proc.ProcessBatch(ctx, now)
			if err != nil {
				return nil, nil, err
			}
			for _, b := range batches {
				next = append(next, b...)
			}
		}
		// A child that was interrupted may have marked the message with any error, or none.
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		for _, m := range next {
			if err := m.GetError(); err != nil {
				return nil, &Failure{Err: err, Stage: c.stage(i, m, err), Message: m}, nil
			}
		}
		if len(next) == 0 {
			return nil, nil, nil
		}
		now = next
	}
	return now, nil, nil
}

// stage prefers what is nearest to the failure: what the error itself says, then what the host
// knows (it does for stock batch processors, also those inside a try), then the child's name.
func (c *Chain) stage(child int, m *service.Message, err error) string {
	if s := Stage(m, err); s != "" {
		return s
	}
	return c.names[child]
}

var errorSource = func() *bloblang.Executor {
	e, err := bloblang.Parse(`root = [error_source_label(), error_source_name()]`)
	if err != nil {
		panic(err)
	}
	return e
}()

// Stage returns where a failed message failed, as far as its error knows, else "".
func Stage(m *service.Message, err error) string {
	if stage := failure.Stage(err); stage != "" {
		return stage
	}
	v, qerr := m.BloblangQueryValue(errorSource)
	if qerr != nil {
		return ""
	}
	list, _ := v.([]any)
	for _, e := range list {
		if s, _ := e.(string); s != "" {
			return s
		}
	}
	return ""
}

// Close closes all children.
func (c *Chain) Close(ctx context.Context) error {
	var errs []error
	for _, p := range c.procs {
		errs = append(errs, p.Close(ctx))
	}
	return errors.Join(errs...)
}
