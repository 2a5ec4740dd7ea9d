package backoffretry

import (
	"context"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/breaker"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/internal/shown"
)

const (
	fieldBreaker = "breaker"
	fieldRatio   = "failure_ratio"
	fieldWindow  = "window"
	fieldMin     = "min_orders"
	fieldProbe   = "probe_interval"
	fieldCodes   = "codes"
)

func breakerField() *service.ConfigField {
	return service.NewObjectField(fieldBreaker,
		service.NewFloatField(fieldRatio).
			Description("The share of first attempts, in the window, that has to fail for transient reasons for the breaker to open, above 0 to 1. It also opens after a row of failures in which nothing passed: see `window` and `min_orders`. 0: there is no breaker.").
			Default(0.0).Example(0.95),
		service.NewDurationField(fieldWindow).
			Description("How far back attempts count, and how long a row of failures has to be. In an outage with enough orders the breaker opens after this time at the latest, so keep it shorter than the delays together: else the first orders have used up their retries by then.").
			Default("6s"),
		service.NewIntField(fieldMin).
			Description("How many first attempts there have to be in the window, or in a row that is as long as the window, at least 1. If the attempts take long, as where a service hangs, fewer are enough in a row that is longer by as much: 6 of 12 in two windows, 2 in six.").
			Default(12),
		service.NewDurationField(fieldProbe).
			Description("While it is open: the time from a probe that failed to the next.").
			Default("1s"),
		service.NewStringListField(fieldCodes).
			Description("The codes of the failures that count, `unclassified` for those of stock processors. Other transient failures then show that the service answers. Empty: all transient failures count.").
			Default([]any{}).Example([]any{"timeout", "unclassified"}),
	).Description("Tells an outage from orders that fail: while nearly all orders fail for transient reasons, they are held instead of being given up.")
}

// outage holds messages while the breaker is open. A nil one has no breaker.
type outage struct {
	breaker *breaker.Breaker
	news    news
	log     *service.Logger

	openGauge, sinceGauge *service.MetricGauge
	openedTotal           *service.MetricCounter
	heldTotal             *service.MetricCounter
}

// turn is the leave to try a message.
type turn struct {
	probe bool
	// first tells whether the attempt counts: it is the message's first, or the first after it
	// was held.
	first bool
	held  bool
	began time.Time
}

func outageFromParsed(conf *service.ParsedConfig, p policy, mgr *service.Resources) (*outage, error) {
	conf = conf.Namespace(fieldBreaker)
	var c breaker.Config
	var err error
	if c.Ratio, err = conf.FieldFloat(fieldRatio); err != nil {
		return nil, err
	}
	if c.Window, err = positive(conf, fieldWindow); err != nil {
		return nil, err
	}
	if c.Min, err = conf.FieldInt(fieldMin); err != nil {
		return nil, err
	}
	if c.Probe, err = positive(conf, fieldProbe); err != nil {
		return nil, err
	}
	if c.Codes, err = conf.FieldStringList(fieldCodes); err != nil {
		return nil, err
	}
	switch {
	case !(c.Ratio >= 0 && c.Ratio <= 1): // written so that NaN is refused
		return nil, fmt.Errorf("field %s.%s: %v: want a number from 0 to 1", fieldBreaker, fieldRatio, c.Ratio)
	case c.Min < 1:
		return nil, fmt.Errorf("field %s.%s: %d: want a number of at least 1", fieldBreaker, fieldMin, c.Min)
	case c.Ratio == 0:
		return nil, nil
	}
	if total := p.schedule.Total(); c.Window >= total {
		mgr.Logger().Warnf("Field %s.%s: %v is not shorter than the delays together (%v): the orders that fail first in an outage are given up before the breaker opens", fieldBreaker, fieldWindow, c.Window, total)
	}
	m := mgr.Metrics()
	o := &outage{
		breaker:     breaker.New(c),
		log:         mgr.Logger(),
		openGauge:   m.NewGauge("orderflow_backoff_retry_breaker_open"),
		sinceGauge:  m.NewGauge("orderflow_backoff_retry_breaker_open_since_seconds"),
		openedTotal: m.NewCounter("orderflow_backoff_retry_breaker_opened_total", "code"),
		heldTotal:   m.NewCounter("orderflow_backoff_retry_breaker_held_total"),
	}
	o.openGauge.Set(0)
	o.sinceGauge.Set(0)
	return o, nil
}

func positive(conf *service.ParsedConfig, field string) (time.Duration, error) {
	text, err := conf.FieldString(field)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("field %s.%s: %q: want a duration above 0, such as 500ms or 2s", fieldBreaker, field, text)
	}
	return d, nil
}

// recall tells whether a message with this history comes back from being held, and takes that for
// an outage if the breaker knows nothing better.
func (o *outage) recall(h session.History) (held bool) {
	if o == nil || h.Held.IsZero() {
		return false
	}
	if o.breaker.Recall(h.Held, time.Now(), h.Code, h.Text) {
		o.opened()
	}
	return true
}

// await returns when a message, tried so often (in vain or without an answer), may be tried again.
// One that has left will be handed out again. held tells that it comes back from being held.
func (o *outage) await(ctx context.Context, order session.Order, tried int, held bool) (t turn, left bool, err error) {
	if o == nil {
		return turn{}, false, nil
	}
	for o.breaker.Open() {
		probe, again := o.breaker.Admit(time.Now())
		if probe {
			return turn{probe: true, began: time.Now()}, false, nil
		}
		if left, err := o.hold(ctx, order, again); left || err != nil {
			return turn{}, left, err
		}
		held = true
	}
	return turn{first: tried == 0 || held, held: held, began: time.Now()}, false, nil
}

// hold puts a message back, which uses up no attempt: into its session, which is told to hand out
// one order at a time, no sooner than again; else it waits here until then.
func (o *outage) hold(ctx context.Context, order session.Order, again time.Time) (left bool, err error) {
	o.heldTotal.Incr(1)
	if order == nil {
		return false, sleep(ctx, again)
	}
	now := time.Now()
	h := order.History()
	h.Held = now
	if h.Code == "" { // for whoever takes over: why it waits
		_, why := o.breaker.State()
		h.Code, h.Text = why.Code, why.Text
	}
	order.SetHistory(h)
	order.Wait(now) // the session's pause keeps it; after that, who has waited longest goes first
	o.pause(order, again)
	return true, nil
}

// pause lets the session of an order hand out one order, no sooner than again.
func (o *outage) pause(order session.Order, again time.Time) {
	if order == nil {
		return
	}
	order.Session().Pause(again)
	if !o.breaker.Open() { // since a moment ago: nobody else would end the pause
		order.Session().Resume()
	}
}

// passed takes a success.
func (o *outage) passed(t turn, order session.Order) {
	switch {
	case o == nil:
	case t.probe:
		now := time.Now()
		if closed, after := o.breaker.Passed(now); closed {
			o.openGauge.Set(0)
			o.sinceGauge.Set(0)
			o.log.Infof("The outage is over after %v: the orders that were held go on", after.Round(time.Millisecond))
		}
		o.pause(order, now) // or ends the pause
	case t.first:
		o.breaker.Counted()
	default:
		o.breaker.Answered()
	}
}

// undone takes back the leave of a message whose attempt told nothing.
func (o *outage) undone(t turn, order session.Order) {
	if o == nil || !t.probe {
		return
	}
	now := time.Now()
	o.breaker.Undone(now)
	o.pause(order, now)
}

// fate is what becomes of a message whose attempt failed.
type fate int

const (
	counts   fate = iota // the attempt counts, and policy decides
	left                 // it has left, to be handed out again
	heldHere             // it was held here, and may ask for another turn
	spared               // it has waited here, since the attempt was to be its last and may not be its fault
)

// failed decides on an attempt that failed at now.
func (o *outage) failed(ctx context.Context, msg *service.Message, t turn, order session.Order, v verdict, cause error, now time.Time) (fate, error) {
	if o == nil {
		return counts, nil
	}
	_, code := failure.Of(cause)
	if v == hopeless {
		o.undone(t, order)
		return counts, nil
	}
	if !o.breaker.Matters(code) {
		if failure.Unavailable(cause) { // which shows nothing of what the codes are about
			o.undone(t, order)
		} else {
			o.passed(t, order)
		}
		return counts, nil
	}
	if place, ok := session.PlaceOf(msg.MetaGetImmut); ok && order != nil && t.first && !t.held {
		t.first = o.news.is(place)
	}
	took := now.Sub(t.began)
	what, again := o.breaker.Failed(now, took, t.probe, t.first, code, cause.Error())
	switch what {
	case breaker.Opened:
		o.opened()
	case breaker.Own:
		until, on := o.breaker.Probation(now, took)
		if v != exhausted || !on {
			return counts, nil
		}
		o.heldTotal.Incr(1)
		if order != nil {
			order.Wait(until)
			return left, nil
		}
		return spared, sleep(ctx, until)
	}
	if gone, err := o.hold(ctx, order, again); gone || err != nil {
		return left, err
	}
	return heldHere, nil
}

func (o *outage) opened() {
	since, why := o.breaker.State()
	if since.IsZero() {
		return
	}
	o.news.forget()
	o.openGauge.Set(1)
	o.sinceGauge.Set(since.Unix())
	o.openedTotal.Incr(1, why.Code)
	if why.Tried == 0 {
		o.log.With("code", why.Code).Warnf("Orders were held because of an outage: probing whether it is over. The last error: %s", shown.Text(why.Text))
		return
	}
	o.log.With("code", why.Code).Warnf("This looks like an outage: %d of %d first attempts failed in %v, %.0f %% of them with code %s. Orders are held, and none is given up, until probes pass. The last error: %s",
		why.Failed, why.Tried, why.Within.Round(time.Millisecond), 100*why.Share, why.Code, shown.Text(why.Text))
}

// sleep waits in place.
func sleep(ctx context.Context, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
