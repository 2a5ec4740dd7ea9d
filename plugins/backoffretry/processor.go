// Package backoffretry is the processor backoff_retry: it runs child processors on a message
// and, when they fail for a reason that may pass, runs them again after exact delays.
//
// Guarantees: a message is tried at most once plus the number of delays; each attempt starts
// from the message as it came; each delay is measured from the failure of the attempt before.
// A permanent failure is never retried. A message whose wait was interrupted because the host
// stops is neither acknowledged nor given up: the input delivers it again.
//
// It works on single messages, since it may drop one (a batch processor that drops messages
// mixes up the others, by a defect of the host), and holds no state between messages: one
// instance serves any number of threads, each of which waits with the message it has.
package backoffretry

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/children"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/query"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/summary"
)

func init() {
	service.MustRegisterProcessor("backoff_retry", spec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.Processor, error) {
			return fromParsed(conf, mgr, summary.Default)
		})
}

type processor struct {
	policy   policy
	retryIf  *bloblang.Executor // nil: retry all that has no class
	children *children.Chain
	outage   *outage // nil: no breaker
	log      *service.Logger
	report   *report

	warnOnce sync.Once
}

func newProcessor(p policy, retryIf *bloblang.Executor, chain *children.Chain, mgr *service.Resources, sum *summary.Report) *processor {
	r := &processor{
		policy:   p,
		retryIf:  retryIf,
		children: chain,
		log:      mgr.Logger(),
		report:   newReport(mgr.Metrics(), p.schedule.Retries()),
	}
	title := "Retries"
	if mgr.Label() != "" {
		title += " (" + mgr.Label() + ")"
	}
	sum.Add(func(w io.Writer) { r.report.section(w, title) })
	return r
}

// Process implements service.Processor. It never changes msg: with a returned error the host
// lets msg go on as it came, marked with that error.
func (p *processor) Process(ctx context.Context, msg *service.Message) (service.MessageBatch, error) {
	came := msg.GetError()
	if isFinal(came) {
		return service.MessageBatch{msg}, nil
	}
	order, err := orderOf(msg)
	if err != nil {
		return nil, err
	}
	before := failedBefore(msg, came)
	if before != nil && order == nil {
		return service.MessageBatch{msg}, nil // nothing brings it back to where it failed
	}
	var failedAt []time.Time
	var h session.History
	if order != nil {
		h = order.History()
		failedAt = slices.Clone(h.Attempts)
		// Nobody took its dead letter, so that it was handed out again: it is not tried again.
		if verdict, cause := p.policy.past(h); verdict != again {
			return nil, final(verdict, cause, failedAt, h.Stage)
		}
	}
	unanswered := h.Unanswered
	for back := p.outage.recall(h); ; {
		attempt := len(failedAt) + 1
		turn, gone, err := p.outage.await(ctx, order, len(failedAt)+unanswered, back)
		if err != nil || gone {
			return nil, err
		}
		p.report.started(attempt)
		var out service.MessageBatch
		failed := before
		if failed == nil {
			out, failed, err = p.attempt(ctx, msg, attempt)
		}
		if err != nil {
			p.outage.undone(turn, order)
			return nil, err
		}
		if failed == nil {
			p.outage.passed(turn, order)
			p.report.passed(attempt)
			return out, nil
		}

		now := time.Now()
		cause := p.classified(failed)
		verdict, delay := p.policy.next(cause, attempt)
		fate, err := p.outage.failed(ctx, msg, turn, order, verdict, cause, now)
		if err != nil || fate == left {
			return nil, err
		}
		if fate != counts {
			back = fate == heldHere
			continue
		}
		if failure.Unavailable(cause) {
			p.report.unansweredTotal.Incr(1)
			if gone, err = putBack(ctx, order, now, unanswered, cause); err != nil || gone {
				return nil, err
			}
			unanswered++
			continue
		}
		failedAt, unanswered = append(failedAt, now), 0
		if order != nil {
			record(order, failedAt, failed.Stage, cause)
		}
		if verdict != again {
			p.report.failed(verdict)
			return nil, final(verdict, cause, failedAt, failed.Stage)
		}
		p.log.Debugf("Attempt %d failed, trying again in %v: %v", attempt, delay, shown.Err(cause))
		gone, err = p.wait(ctx, order, attempt, now.Add(delay))
		if err != nil || gone {
			return nil, err
		}
	}
}

// final is the error of a message that will not be tried again.
func final(v verdict, cause error, failedAt []time.Time, stage string) error {
	if v == exhausted {
		cause = &retriesExceeded{cause}
	}
	return &failure.History{Attempts: failedAt, Stage: stage, Err: cause}
}

// isFinal tells whether a message arrived with an error that was decided on before. To clear
// it and go on would let a message pass that could not be decoded, or that failed elsewhere.
func isFinal(err error) bool {
	if err == nil {
		return false
	}
	if _, tried := errors.AsType[*failure.History](err); tried {
		return true
	}
	class, _ := failure.Of(err)
	return class == failure.Permanent || errors.Is(err, context.Canceled)
}

// failedBefore is the failure that a message came with, if that is one that may pass: of a
// processor before this one, such as one that decodes. To clear it and go on would let the children
// work on what is not ready for them. An error without a class is none.
func failedBefore(msg *service.Message, err error) *children.Failure {
	if _, classified := errors.AsType[*failure.Error](err); !classified {
		return nil
	}
	return &children.Failure{Err: err, Stage: children.Stage(msg, err), Message: msg}
}

// attempt runs the children on a copy of msg. A shallow copy is enough: the children share
// content and metadata with msg until they write. To write is what costs, so that an attempt
// number that the input has set already is left alone.
func (p *processor) attempt(ctx context.Context, msg *service.Message, number int) (service.MessageBatch, *children.Failure, error) {
	before, had := msg.MetaGetMut(metaAttempt)
	trial := msg.Copy()
	trial.SetError(nil)
	if before != any(number) {
		trial.MetaSetMut(metaAttempt, number)
	}
	out, failed, err := p.children.Run(ctx, trial)
	if err != nil || failed != nil {
		return nil, failed, err
	}
	for _, m := range out {
		switch {
		case !had:
			m.MetaDelete(metaAttempt)
		case before != any(number):
			m.MetaSetMut(metaAttempt, before)
		}
	}
	return out, nil, nil
}

// classified gives a failure without a class the class that retry_if decides on. Without a
// clear answer it stays without one, and is retried: retries are few, a lost order is not
// mended.
func (p *processor) classified(failed *children.Failure) error {
	if p.retryIf == nil {
		return failed.Err
	}
	if _, ok := errors.AsType[*failure.Error](failed.Err); ok {
		return failed.Err
	}
	retry, err := query.Bool(failed.Message, p.retryIf)
	switch {
	case err == nil && retry:
		return failed.Err
	case err == nil:
		return failure.NewPermanent(failure.Unclassified, failed.Err)
	}
	p.report.checkErrorsTotal.Incr(1)
	p.warnOnce.Do(func() {
		p.log.Warnf("Deciding on a retry by %s: %v. The message is retried. This is logged once and counted in orderflow_backoff_retry_check_errors_total.", fieldRetryIf, shown.Err(err))
	})
	return failed.Err
}

// wait lets time pass until the next attempt is due. Here, and only here, it is decided how a
// message waits. One that belongs to a session waits there: it has left, is dropped here, and
// will be handed out again. Any other waits in place, which blocks its pipeline thread. The
// error of a context that ended is returned as it is; the host then answers the whole batch
// with it, so that the input delivers the message again.
func (p *processor) wait(ctx context.Context, order session.Order, retry int, due time.Time) (left bool, err error) {
	if order != nil {
		order.Wait(due)
		p.report.waitUntil(retry, due)
		return true, nil
	}
	p.report.wait(retry, 1)
	defer p.report.wait(retry, -1)
	return false, sleep(ctx, due)
}

// Close implements service.Processor.
func (p *processor) Close(ctx context.Context) error { return p.children.Close(ctx) }

var _ service.Processor = (*processor)(nil)
