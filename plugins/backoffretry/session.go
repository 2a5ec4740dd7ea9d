package backoffretry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/session"
)

// errOver is the error of a message whose transaction was aborted while it was on its way. Its
// batch will be rejected, and the order handed out again. It is one of those that dead_letter
// leaves alone.
var errOver = fmt.Errorf("the transaction of this message is over: %w", context.Canceled)

// orderOf returns the order that a message belongs to, or nil if it comes from no session.
func orderOf(msg *service.Message) (session.Order, error) {
	ctx := msg.Context()
	if !session.Carried(ctx) {
		return nil, nil
	}
	place, ok := session.PlaceOf(msg.MetaGetImmut)
	if !ok {
		return nil, nil // somebody removed what tells the messages apart: it waits in place
	}
	order, ok := session.Of(ctx, place)
	if !ok {
		return nil, errOver
	}
	return order, nil
}

// record writes down what was tried, so that it survives whatever happens to this process.
func record(order session.Order, attempts []time.Time, stage string, cause error) {
	class, code := failure.Of(cause)
	order.SetHistory(session.History{
		Attempts: attempts, Class: string(class), Code: code, Stage: stage, Text: cause.Error(),
	})
}

// putBack makes a message wait that cannot be judged now, which is no attempt: in its session, so
// that it has left, else in place.
func putBack(ctx context.Context, order session.Order, now time.Time, before int, cause error) (left bool, err error) {
	if order == nil {
		return false, sleep(ctx, now.Add(session.PutBackPause(before)))
	}
	_, code := failure.Of(cause)
	session.PutBack(order, now, code, cause.Error())
	return true, nil
}

// past returns the error of the last attempt that was written down, and whether it was the
// last one that there may be.
func (p policy) past(h session.History) (v verdict, cause error) {
	if len(h.Attempts) == 0 {
		return again, nil
	}
	cause = &failure.Error{Class: failure.Class(h.Class), Code: h.Code, Err: errors.New(h.Text)}
	v, _ = p.next(cause, len(h.Attempts))
	return v, cause
}
