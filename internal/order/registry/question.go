package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orderflow/orderflow/internal/failure"
)

const (
	// briefly is how long a caller waits that waits briefly.
	briefly = time.Second
	// mostQuestions bounds how many schemas are asked for at a time.
	mostQuestions = 16
	// longestQuestion bounds one, with all that a schema refers to.
	longestQuestion = 30 * time.Second
	// rememberFinal is how long a refusal that is permanent is not asked for again.
	rememberFinal = 10 * time.Second
)

// matter is what is asked for, and what the answers mean. Recall and keep are called under the
// client's lock.
type matter[V any] struct {
	what string
	// unknown makes the error of what the registry does not know, as it says.
	unknown func(what string, said error) error
	// refusable tells that to be refused a right to it is an answer.
	refusable bool
	fetch     func(context.Context) (V, error)
	recall    func() (V, bool)
	keep      func(V)
}

// question is one that is under way. What follows done is written before that is closed.
type question struct {
	begun time.Time
	probe bool // it finds out whether an outage is over
	done  chan struct{}
	err   error
	away  bool // the registry as a whole did not answer
}

// settles tells whether the end of a question, which had no good one, is an answer to a caller.
func (q *question) settles(p Patience) bool {
	if q.away {
		return p < ForRegistry
	}
	return p < Endlessly || !failure.Unavailable(q.err)
}

// refusal is why something is not asked for until then.
type refusal struct {
	err   error
	until time.Time
	// pause is the last pause before it was asked for again, if there was no answer, else 0.
	pause time.Duration
}

// outage is a time in which the registry answers nothing.
type outage struct {
	err     error
	until   time.Time // of the next probe
	pause   time.Duration
	probing bool
	probes  int
}

// ask answers from memory, or else sees to it that the question is asked, and waits.
func ask[V any](ctx context.Context, c *Client, p Patience, key any, m matter[V]) (V, error) {
	var zero V
	began := time.Now()
	var mine *question // whose end this caller has waited for
	for {
		c.mu.Lock()
		if v, ok := m.recall(); ok {
			c.mu.Unlock()
			return v, nil
		}
		if mine != nil && mine.settles(p) {
			c.mu.Unlock()
			return zero, mine.err
		}
		mine = nil
		now := time.Now()
		var wait time.Time // zero: only for a change
		var why error
		since := began
		switch r, q := c.refusals[key], c.questions[key]; {
		case r != nil && now.Before(r.until):
			if p != Endlessly || r.pause == 0 {
				c.mu.Unlock()
				return zero, r.err
			}
			wait = r.until
		case q != nil:
			mine, since = q, q.begun
			why = fmt.Errorf("no answer on %s yet", m.what)
		case c.outage != nil && (c.outage.probing || now.Before(c.outage.until)):
			if p < ForRegistry {
				err := c.outage.err
				c.mu.Unlock()
				return zero, unreachable(err)
			}
			if !c.outage.probing {
				wait = c.outage.until
			}
		case len(c.questions) >= mostQuestions:
			why = fmt.Errorf("%d other questions wait for an answer", len(c.questions))
		default:
			mine = begin(c, key, m)
			why = fmt.Errorf("no answer on %s yet", m.what)
		}
		changed := c.changed
		c.mu.Unlock()

		if p == Briefly {
			wait = since.Add(briefly)
		}
		var ended <-chan struct{}
		if mine != nil {
			ended, changed = mine.done, nil
		}
		over, err := pause(ctx, wait, ended, changed)
		if errors.Is(err, context.DeadlineExceeded) && p == Briefly || err == nil && over && p == Briefly {
			return zero, unavailable("the schema registry is slow: %w", why)
		}
		if err != nil {
			return zero, fmt.Errorf("waiting for the schema registry: %w", err)
		}
	}
}

// pause waits until one of the channels is closed, or until a time, if it is not zero. It tells
// whether that time has come first.
func pause(ctx context.Context, until time.Time, a, b <-chan struct{}) (over bool, err error) {
	var clock <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		clock = timer.C
	}
	select {
	case <-a:
	case <-b:
	case <-clock:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

// begin asks, without its caller, who may have less patience. c.mu must be held.
func begin[V any](c *Client, key any, m matter[V]) *question {
	q := &question{begun: time.Now(), done: make(chan struct{})}
	c.questions[key] = q
	byControl := false
	if c.outage != nil {
		// Whatever is asked for first may be what this registry never answers, and it may have no
		// other question than ours that it answers: so the two take turns.
		q.probe, c.outage.probing = true, true
		byControl = c.outage.probes%2 == 1
		c.outage.probes++
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), longestQuestion)
		defer cancel()
		v, verdict, err := consult(ctx, c, m, q.probe, byControl)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.questions, key)
		if q.err = err; verdict == known {
			m.keep(v)
		}
		if q.away = verdict == away; q.away {
			q.err = unreachable(err)
			c.missed(q, err)
		} else {
			c.heard(key, m.what, verdict, err)
		}
		close(q.done)
		close(c.changed)
		c.changed = make(chan struct{})
	}()
	return q
}

// consult asks the registry for something. Where the answer is not clean, another question tells
// whether it is the registry that is not well.
func consult[V any](ctx context.Context, c *Client, m matter[V], probe, byControl bool) (v V, verdict verdict, err error) {
	if byControl {
		if err := c.control(ctx); err != nil {
			return v, away, said(err)
		}
	}
	if v, err = m.fetch(ctx); err == nil {
		return v, known, nil
	}
	verdict = judge(err)
	if verdict == forbidden && !m.refusable {
		verdict = silent
	}
	if doubted := verdict == gone || verdict == forbidden || verdict == silent; doubted && !byControl {
		if probe || c.control(ctx) != nil {
			verdict = away
		}
	}
	switch verdict {
	case final:
		if _, ours := errors.AsType[*failure.Error](err); !ours {
			err = refuse(CodeRefused, "%s: %w", name(m.what, err), said(err))
		}
	case unknown, gone:
		err = m.unknown(name(m.what, err), said(err))
	case forbidden:
		err = failure.NewTransient(CodeRefused, fmt.Errorf("%s is refused by the registry: %w", name(m.what, err), said(err)))
	case silent:
		err = unavailable("the schema registry does not answer for %s: %w", name(m.what, err), said(err))
	case away:
		err = said(err)
	}
	return v, verdict, err
}

// control tells why the registry does not answer a question that it should be able to answer: for
// what it has answered before, else for its subjects.
func (c *Client) control(ctx context.Context) error {
	c.mu.RLock()
	good := c.good
	c.mu.RUnlock()
	if good != 0 {
		s, err := c.sr.SchemaByID(ctx, int(good))
		switch {
		case err == nil && s.Schema == "":
			return errNoSchema
		case err != nil && judge(err) == unknown: // somebody has deleted it, says the registry
			return nil
		}
		return err
	}
	var subjects []any // a list and nothing else: a proxy may answer in JSON too
	return c.sr.Do(ctx, "GET", "/subjects", nil, &subjects)
}

// heard takes an answer, or that there is none on this alone. c.mu must be held.
func (c *Client) heard(key any, what string, v verdict, err error) {
	if c.outage != nil {
		c.outage = nil
		c.opts.OnState(nil)
	}
	old, now := c.refusals[key], time.Now()
	if old != nil && old.pause > 0 && v != silent && c.told.take(now) {
		c.opts.OnSilence(what, nil)
	}
	r := &refusal{err: err}
	switch v {
	case known:
		delete(c.refusals, key)
		return
	case silent:
		c.opts.OnUnanswered()
		if r.pause = c.opts.FirstPause; old != nil && old.pause > 0 {
			r.pause = min(2*old.pause, c.opts.MaxPause)
		} else if c.told.take(now) {
			c.opts.OnSilence(what, errors.Unwrap(errors.Unwrap(err))) // what the registry said
		}
		r.until = now.Add(r.pause)
	case final:
		r.until = now.Add(rememberFinal)
	default:
		r.until = now.Add(c.opts.RememberRefusal)
	}
	// When there are too many, all are forgotten: they are cheap to learn again, and no order of
	// theirs is worth the bookkeeping.
	if len(c.refusals) >= mostRefusals && old == nil {
		clear(c.refusals)
	}
	c.refusals[key] = r
}

// missed takes it that the registry did not answer. c.mu must be held.
func (c *Client) missed(q *question, err error) {
	o := c.outage
	switch {
	case o == nil:
		o = &outage{pause: c.opts.FirstPause}
		c.outage = o
		c.opts.OnState(err)
	case q.probe:
		o.probing, o.pause = false, min(2*o.pause, c.opts.MaxPause)
	default:
		return // it was asked before the outage was known
	}
	o.err, o.until = err, time.Now().Add(min(o.pause, c.opts.MaxPause))
}

func unreachable(err error) error {
	return unavailable("the schema registry cannot be reached: %w", err)
}

// budget bounds how often something is told: ten times a minute.
type budget struct {
	began time.Time
	spent int
}

func (b *budget) take(now time.Time) bool {
	if now.Sub(b.began) >= time.Minute {
		*b = budget{began: now}
	}
	b.spent++
	return b.spent <= 10
}
