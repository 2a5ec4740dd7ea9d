package dlqredrive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/children"
	"github.com/orderflow/orderflow/internal/connection"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/fields"
	"github.com/orderflow/orderflow/internal/query"
	"github.com/orderflow/orderflow/internal/rendezvous"
)

// processor chooses letters and mends their orders. It works on single messages, so that it may
// drop one.
type processor struct {
	hub     *hub // of its own where the stream has no input of ours
	log     *service.Logger
	where   *bloblang.Executor
	mapping *bloblang.Executor // nil: nothing is mended
	decode  *children.Chain
	encode  *children.Chain

	mu   sync.Mutex
	pace pace
}

func newProcessor(pc *service.ParsedConfig, res *service.Resources) (*processor, error) {
	p := &processor{hub: newHub(&Watch{}), log: res.Logger()}
	if h, ok := rendezvous.Find[*hub](res); ok {
		p.hub = h
	}
	f := fields.Of(pc)
	ids := connection.Split(f.List(fieldIDs))
	where, mapping := strings.TrimSpace(f.Optional(fieldWhere)), strings.TrimSpace(f.Optional(fieldMap))
	limit := f.AtLeast(fieldLimit, 0)
	var err error
	p.where, err = pc.FieldBloblang(fieldWhere)
	f.Fail(fieldWhere, err)
	if mapping != "" {
		p.mapping, err = pc.FieldBloblang(fieldMap)
		f.Fail(fieldMap, err)
	}
	rate, err := pc.FieldFloat(fieldRate)
	f.Fail(fieldRate, err)
	if !(rate >= 0) || math.IsInf(rate, 0) {
		f.Fail(fieldRate, fmt.Errorf("%v: want a number of at least 0", rate))
	}
	p.pace = newPace(rate)
	if err := f.Err(); err != nil {
		return nil, err
	}
	if p.decode, err = children.FromParsed(pc, fieldDecode); err != nil {
		return nil, err
	}
	if p.encode, err = children.FromParsed(pc, fieldEncode); err != nil {
		return nil, err
	}
	p.hub.add(func() {
		p.hub.limit = int64(limit)
		p.hub.plan.ids = map[string]bool{}
		for _, id := range ids {
			p.hub.plan.ids[id] = true
		}
		p.hub.run.IDs, p.hub.run.Where, p.hub.run.Map = ids, where, mapping
	})
	return p, nil
}

// Process drops the message unless it is to be sent.
func (p *processor) Process(ctx context.Context, msg *service.Message) (service.MessageBatch, error) {
	l, over := p.hub.look(msg)
	if over {
		return nil, nil
	}
	if !p.hub.plan.means(l.about.ID, l.place.String()) {
		return p.hub.put(l, unmatched)
	}
	view, failed, err := p.view(ctx, msg)
	if err != nil {
		return nil, err
	}
	if failed != nil {
		p.hub.undecoded(l, failed)
	}
	chosen, err := query.Bool(view, p.where)
	if err != nil {
		p.hub.unfiltered(err)
		return p.hub.put(l, unfiltered)
	}
	if !chosen {
		return p.hub.put(l, unmatched)
	}
	if l.route = p.hub.plan.route(l.about); l.route.reason != "" {
		return p.refuse(l)
	}
	if found, err := p.hub.hasTopic(ctx, l.route.topic); err != nil {
		return nil, err
	} else if !found {
		l.route.reason, l.route.err = reasonNoTarget, fmt.Errorf("topic %q does not exist", l.route.topic)
		return p.refuse(l)
	}
	out, after := msg, view
	if p.mapping != nil && !l.route.parked {
		mended, document, err := p.mend(ctx, l, view)
		if err != nil {
			return nil, err
		}
		if l.route.reason != "" {
			return p.refuse(l)
		}
		l.mended, out, after = true, mended, document
	}
	if p.hub.sampling {
		l.sample = newSample(l, view, after)
	}
	if ok, err := p.turn(ctx, l); !ok || err != nil {
		return nil, err
	}
	return service.MessageBatch{out}, nil
}

// view is the letter as `where` and `map` see it: decoded, else null and the reason why.
func (p *processor) view(ctx context.Context, msg *service.Message) (view *service.Message, reason, err error) {
	out, failed, err := p.decode.Run(ctx, msg.Copy())
	if err != nil {
		return nil, nil, err
	}
	switch {
	case failed != nil:
		reason = failed.Err
	case len(out) != 1:
		reason = fmt.Errorf("the processors of %s made %d messages of it", fieldDecode, len(out))
	default:
		if _, reason = out[0].AsStructured(); reason == nil {
			return out[0], nil, nil
		}
	}
	view = msg.Copy()
	view.SetBytes([]byte("null"))
	view.SetError(nil)
	return view, reason, nil
}

// refuse drops a letter that was chosen and cannot be sent. The counts say how many there are of
// each reason; which they are, and why, is for those who ask.
func (p *processor) refuse(l *letter) (service.MessageBatch, error) {
	p.log.With("dlq_id", l.about.ID, "place", l.place.String(), "reason", l.route.reason).Debugf("Refused, it stays open: %v", l.route.err)
	return p.hub.put(l, refused)
}

// mend returns the mended order, encoded and as a document. If there is none, the letter's route
// says why.
func (p *processor) mend(ctx context.Context, l *letter, view *service.Message) (encoded, document *service.Message, err error) {
	// What it reads is the order as it was, however much of it is changed already.
	mended, err := view.Copy().BloblangMutateFrom(p.mapping, view)
	switch {
	case err != nil:
		l.route.reason, l.route.err = reasonMapFailed, err
		return nil, nil, nil
	case mended == nil:
		l.route.reason, l.route.err = reasonMapDeleted, errors.New("the mapping deletes the order")
		return nil, nil, nil
	}
	document = mended.Copy()
	out, failed, err := p.encode.Run(ctx, mended)
	switch {
	case err != nil:
		return nil, nil, err
	case failed != nil:
		_, l.route.reason = failure.Of(failed.Err)
		l.route.err = failed.Err
		return nil, nil, nil
	case len(out) != 1:
		l.route.reason = reasonMapDeleted
		l.route.err = fmt.Errorf("the processors of %s made %d messages of the order", fieldEncode, len(out))
		return nil, nil, nil
	}
	return out[0], document, nil
}

// turn waits until the letter may be sent. It gives false where it may not in this batch.
func (p *processor) turn(ctx context.Context, l *letter) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock() // the others wait behind this one
	now := time.Now()
	wait := p.pace.wait(now)
	if !p.hub.claim(l, now.Add(wait)) {
		return false, nil
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-p.hub.halted.Done():
			p.hub.release(l)
			return false, nil
		case <-timer.C:
		}
	}
	p.pace.take(now.Add(wait))
	return true, nil
}

// Close closes the children.
func (p *processor) Close(ctx context.Context) error {
	if err := p.decode.Close(ctx); err != nil {
		return err
	}
	return p.encode.Close(ctx)
}

var _ service.Processor = (*processor)(nil)
