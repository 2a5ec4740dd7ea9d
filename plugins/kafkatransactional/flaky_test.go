package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/session"
)

// flaky fails orders whose value begins with "bad" so many times, each time to be tried again.
type flaky struct {
	failures int
	wait     time.Duration
}

func (f *flaky) Process(_ context.Context, msg *service.Message) (service.MessageBatch, error) {
	place, ok := session.PlaceOf(msg.MetaGetImmut)
	if !ok {
		return nil, errors.New("no place")
	}
	o, ok := session.Of(msg.Context(), place)
	if !ok {
		return nil, errors.New("no order")
	}
	value, _ := msg.AsBytes()
	if h := o.History(); strings.HasPrefix(string(value), "bad") && len(h.Attempts) < f.failures {
		h.Attempts = append(h.Attempts[:len(h.Attempts):len(h.Attempts)], time.Now())
		o.SetHistory(h)
		o.Wait(time.Now().Add(f.wait))
		return nil, nil
	}
	o.Contribute("total", "all", int64(1), func() session.Accumulator { return new(counter) })
	return service.MessageBatch{msg}, nil
}

func (f *flaky) Close(context.Context) error { return nil }

// counter is an accumulator that counts.
type counter struct{ n int64 }

func (c *counter) Fold(v any) { c.n += v.(int64) }

func (c *counter) AppendBinary(b []byte) ([]byte, error) { return fmt.Appendf(b, "%d", c.n), nil }

func (c *counter) UnmarshalBinary(b []byte) error {
	_, err := fmt.Sscanf(string(b), "%d", &c.n)
	return err
}
