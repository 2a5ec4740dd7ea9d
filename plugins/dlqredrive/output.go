package dlqredrive

import (
	"context"
	"errors"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/connection"
	"github.com/orderflow/orderflow/internal/fields"
	"github.com/orderflow/orderflow/internal/rendezvous"
)

type output struct{ hub *hub }

func newOutput(pc *service.ParsedConfig, res *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
	h, ok := rendezvous.Find[*hub](res)
	if !ok {
		return nil, service.BatchPolicy{}, 0, errors.New("output dlq_redrive needs an input dlq_redrive in the same stream: it writes in that input's transaction")
	}
	o := &output{hub: h}
	f := fields.Of(pc)
	targets, target := connection.Split(f.List(fieldTargets)), f.Optional(fieldTarget)
	parking, state := f.Optional(fieldParkingTopic), f.Optional(fieldStateTopic)
	other := f.Bool(fieldAllowOther)
	most := f.AtLeast(fieldMaxRedrives, 0)
	if err := f.Err(); err != nil {
		return nil, service.BatchPolicy{}, 0, err
	}
	var err error
	o.hub.add(func() {
		p := &o.hub.plan
		p.targets, p.target, p.allowOther, p.maxRedrives, p.state = targets, target, other, most, state
		o.hub.run.Target = target
		if parking != "" {
			p.parking = parking
		}
		err = p.check()
	})
	return o, service.BatchPolicy{}, 1, err
}

// Connect does nothing: the client is the input's.
func (o *output) Connect(context.Context) error { return nil }

// Close does nothing.
func (o *output) Close(context.Context) error { return nil }

// WriteBatch hands orders to the client. A batch that it cannot write whole fails, so
// that the input aborts its transaction.
func (o *output) WriteBatch(_ context.Context, msgs service.MessageBatch) error {
	for _, msg := range msgs {
		if err := o.write(msg); err != nil {
			return err
		}
	}
	return nil
}

func (o *output) write(msg *service.Message) error {
	place := placeOf(msg)
	if err := msg.GetError(); err != nil {
		return fmt.Errorf("writing %s: %w", place, err)
	}
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	l := o.hub.find(place)
	switch {
	case l == nil:
		return fmt.Errorf("writing %s: the message does not come from the stream's dlq_redrive input", place)
	case l.state == written:
		return nil // a pipeline that writes a message twice sends it once
	case l.state != approved:
		return fmt.Errorf("writing %s: no dlq_redrive processor has chosen it", place)
	}
	if o.hub.sampling {
		l.state = written
		return nil
	}
	rec := l.parked()
	if !l.route.parked {
		value := l.rec.Value
		if l.mended {
			var err error
			if value, err = msg.AsBytes(); err != nil {
				return fmt.Errorf("writing %s: %w", place, err)
			}
		}
		rec = l.resent(value)
	}
	if err := o.hub.client.produce(rec); err != nil {
		return fmt.Errorf("writing %s: %w", place, err)
	}
	l.sent, l.state = rec, written
	return nil
}

var _ service.BatchOutput = (*output)(nil)
