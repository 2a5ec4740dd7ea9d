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
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/backoff"
	"github.com/orderflow/orderflow/internal/children"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/internal/summary"
)

const (
	fieldDelays     = "delays"
	fieldInitial    = "initial_interval"
	fieldMultiplier = "multiplier"
	fieldMax        = "max_interval"
	fieldJitter     = "jitter"
	fieldRetries    = "max_retries"
	fieldRetryIf    = "retry_if"
	fieldProcessors = "processors"

	// metaAttempt is the metadata that tells the children which attempt this is.
	metaAttempt = "attempt"
)

// defaultDelays is the default of fieldDelays.
var defaultDelays = []string{"1s", "2s", "4s"}

// exponentialFields are the alternative to fieldDelays.
var exponentialFields = []string{fieldInitial, fieldMultiplier, fieldMax, fieldJitter, fieldRetries}

func init() {
	service.MustRegisterProcessor("backoff_retry", spec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.Processor, error) {
			return fromParsed(conf, mgr, summary.Default)
		})
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Categories("Composition").
		Summary("Runs child processors on each message and, if they fail, runs them again after exact delays.").
		Description(`
Each attempt starts from the message as it came: its content, its metadata, and without an error. The children see the number of the attempt, from 1, as the metadata `+"`attempt`"+`, which is gone again (or is again the header that it was) afterwards. A child that fails ends the attempt: the children that follow are skipped, in both error-handling modes. If a child makes several messages of one and any of them fails, the attempt has failed. If a child drops the message, it is dropped.

A failure whose class is permanent is not retried. A failure of a stock processor has no class: `+"`retry_if`"+` decides on it. A message that still fails goes on as it came, carrying the error of its last attempt, with the text `+"`Max retries exceeded: …`"+` if the retries were used up; `+"`dead_letter`"+` makes a dead letter of it.

A message that arrives with an error that is already final, that is permanent, interrupted, or of another `+"`backoff_retry`"+`, is not tried but passed on as it is. Any other error is cleared.

With the input `+"`kafka_transactional`"+` a waiting message is written to the state topic and handed out again when it is due: it holds up no other, and a restart goes on counting where it was. With other inputs the wait takes place in the pipeline thread. So that waiting messages delay no others, give the pipeline more threads than messages wait at a time. At shutdown a wait goes on until the host's shutdown_timeout nears, then ends at once: the message is not acknowledged, and the input delivers it again after the restart.

With a `+"`breaker`"+`, messages are held while nearly all of them fail for transient reasons. One at a time is tried then, as a probe, which uses up no retry; when three of six have passed, all go on.`).
		Fields(
			service.NewStringListField(fieldDelays).
				Description("How long to wait before each retry, measured from the failure before. There are as many retries as delays. Not together with the five fields below.").
				Default([]any{"1s", "2s", "4s"}).
				Example([]any{"500ms", "5s"}),
			service.NewDurationField(fieldInitial).
				Description("Instead of `delays`: how long to wait before the first retry. 1s when only others of these fields are set.").
				Example("1s").Optional(),
			service.NewFloatField(fieldMultiplier).
				Description("Instead of `delays`: the factor from one delay to the next, at least 1. 2 when only others of these fields are set.").
				Example(2.0).Optional(),
			service.NewDurationField(fieldMax).
				Description("Instead of `delays`: the longest delay, before jitter. No limit when it is not set.").
				Example("1m").Optional(),
			service.NewFloatField(fieldJitter).
				Description("Instead of `delays`: spreads each delay evenly over delay × (1 ± jitter), 0 to 1. 0, exact delays, when it is not set.").
				Example(0.2).Optional(),
			service.NewIntField(fieldRetries).
				Description("Instead of `delays`: how often to try again after the first attempt, 1 to 1000. 3 when only others of these fields are set.").
				Example(5).Optional(),
			service.NewBloblangField(fieldRetryIf).
				Description("Whether to retry a failure that has no class, such as one of a stock processor: a query on the failed message that gives a boolean; `error()` is the error. Without it such failures are retried. If the query fails, or gives anything else, the failure is retried too, and that is logged once and counted.").
				Example(`error().contains("timeout")`).Optional(),
			breakerField(),
			service.NewProcessorListField(fieldProcessors).
				Description("The child processors.").
				Example([]any{map[string]any{"mapping": `root = if this.price > 0 { this } else { throw("no price") }`}}),
		).
		LintRule(`root = if this.exists("delays") && this.delays.join(",") != "1s,2s,4s" && this.keys().any(k -> ["initial_interval", "multiplier", "max_interval", "jitter", "max_retries"].contains(k)) { "give either delays, or initial_interval, multiplier, max_interval, jitter, max_retries" }`).
		Example("A passing error of a service", "A call is tried again for what may pass, and only for that. What still fails becomes a dead letter.", `
pipeline:
  threads: 32
  processors:
    - backoff_retry:
        delays: [ 1s, 2s, 4s ]
        retry_if: 'error().re_match("timeout|50[0-9]")'
        processors:
          - http:
              url: http://localhost:8080/check
              retries: 0
    - dead_letter: {}
`).
		Example("Growing delays", "1s, 3s, 9s, 20s and 20s, each 10 % shorter or longer at most.", `
pipeline:
  processors:
    - backoff_retry:
        initial_interval: 1s
        multiplier: 3
        max_interval: 20s
        jitter: 0.1
        max_retries: 5
        processors:
          - mapping: root = this.order
`)
}

func fromParsed(conf *service.ParsedConfig, mgr *service.Resources, sum *summary.Report) (*processor, error) {
	schedule, err := scheduleFromParsed(conf)
	if err != nil {
		return nil, err
	}
	var retryIf *bloblang.Executor
	if conf.Contains(fieldRetryIf) {
		if retryIf, err = conf.FieldBloblang(fieldRetryIf); err != nil {
			return nil, err
		}
	}
	chain, err := children.FromParsed(conf, fieldProcessors)
	if err != nil {
		return nil, err
	}
	if chain.Len() == 0 {
		return nil, fmt.Errorf("field %s: []: want at least one processor", fieldProcessors)
	}
	p := newProcessor(policy{schedule: schedule, random: rand.Float64}, retryIf, chain, mgr, sum)
	p.outage, err = outageFromParsed(conf, p.policy, mgr)
	return p, err
}

func scheduleFromParsed(conf *service.ParsedConfig) (backoff.Schedule, error) {
	list, err := conf.FieldStringList(fieldDelays)
	if err != nil {
		return backoff.Schedule{}, err
	}
	given := slices.DeleteFunc(slices.Clone(exponentialFields), func(f string) bool { return !conf.Contains(f) })
	if len(given) == 0 {
		delays := make([]time.Duration, len(list))
		for i, text := range list {
			if delays[i], err = time.ParseDuration(text); err != nil {
				return backoff.Schedule{}, fmt.Errorf("field %s.%d: %q: want a duration such as 500ms or 2s", fieldDelays, i, text)
			}
		}
		return backoff.List(delays...)
	}
	// The host fills in the default, so that only another list shows that one was given.
	if !slices.Equal(list, defaultDelays) {
		return backoff.Schedule{}, fmt.Errorf("fields %s and %s: give either %[1]s, or %[3]s", fieldDelays, given[0], strings.Join(exponentialFields, ", "))
	}
	e := backoff.Exponential{Initial: time.Second, Multiplier: 2, Retries: 3}
	if conf.Contains(fieldInitial) {
		if e.Initial, err = duration(conf, fieldInitial); err != nil {
			return backoff.Schedule{}, err
		}
	}
	if conf.Contains(fieldMultiplier) {
		if e.Multiplier, err = conf.FieldFloat(fieldMultiplier); err != nil {
			return backoff.Schedule{}, err
		}
	}
	if conf.Contains(fieldMax) {
		if e.Max, err = duration(conf, fieldMax); err != nil {
			return backoff.Schedule{}, err
		}
		if e.Max == 0 { // which means no limit only where the field is not there
			return backoff.Schedule{}, fmt.Errorf("field %s: 0s: want a duration of at least initial_interval (%v)", fieldMax, e.Initial)
		}
	}
	if conf.Contains(fieldJitter) {
		if e.Jitter, err = conf.FieldFloat(fieldJitter); err != nil {
			return backoff.Schedule{}, err
		}
	}
	if conf.Contains(fieldRetries) {
		if e.Retries, err = conf.FieldInt(fieldRetries); err != nil {
			return backoff.Schedule{}, err
		}
	}
	return e.Schedule()
}

func duration(conf *service.ParsedConfig, field string) (time.Duration, error) {
	text, err := conf.FieldString(field)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("field %s: %q: want a duration such as 500ms or 2s", field, text)
	}
	return d, nil
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
	if isFinal(msg.GetError()) {
		return service.MessageBatch{msg}, nil
	}
	order, err := orderOf(msg)
	if err != nil {
		return nil, err
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
	for held := p.outage.recall(h); ; {
		attempt := len(failedAt) + 1
		turn, left, err := p.outage.await(ctx, order, len(failedAt), held)
		if err != nil || left {
			return nil, err
		}
		p.report.started(attempt)
		out, failed, err := p.attempt(ctx, msg, attempt)
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
		held, left, err = p.outage.failed(ctx, turn, order, verdict, cause, now)
		if err != nil || left {
			return nil, err
		}
		if held {
			continue
		}
		failedAt = append(failedAt, now)
		if order != nil {
			record(order, failedAt, failed.Stage, cause)
		}
		if verdict != again {
			p.report.failed(verdict)
			return nil, final(verdict, cause, failedAt, failed.Stage)
		}
		p.log.Debugf("Attempt %d failed, trying again in %v: %v", attempt, delay, cause)
		left, err = p.wait(ctx, order, attempt, delay, now.Add(delay))
		if err != nil || left {
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
	retry, err := ask(failed.Message, p.retryIf)
	switch {
	case err == nil && retry:
		return failed.Err
	case err == nil:
		return failure.NewPermanent(failure.Unclassified, failed.Err)
	}
	p.report.checkErrorsTotal.Incr(1)
	p.warnOnce.Do(func() {
		p.log.Warnf("Deciding on a retry by %s: %v. The message is retried. This is logged once and counted in orderflow_backoff_retry_check_errors_total.", fieldRetryIf, err)
	})
	return failed.Err
}

// ask runs a query that has to give a boolean. (BloblangQueryValue would be simpler, but in it
// there is no `this`.)
func ask(msg *service.Message, query *bloblang.Executor) (bool, error) {
	answer, err := msg.BloblangQuery(query)
	if err != nil {
		return false, err
	}
	if answer == nil {
		return false, errors.New("want a boolean, got a deletion")
	}
	if answer.HasStructured() { // the text "true" is bytes
		v, err := answer.AsStructured()
		if b, ok := v.(bool); ok && err == nil {
			return b, nil
		}
	}
	text, err := answer.AsBytes()
	if err != nil {
		return false, err
	}
	return false, fmt.Errorf("want a boolean, got %.100q", text)
}

// wait lets time pass until the next attempt is due. Here, and only here, it is decided how a
// message waits. One that belongs to a session waits there: it has left, is dropped here, and
// will be handed out again. Any other waits in place, which blocks its pipeline thread. The
// error of a context that ended is returned as it is; the host then answers the whole batch
// with it, so that the input delivers the message again.
func (p *processor) wait(ctx context.Context, order session.Order, retry int, delay time.Duration, due time.Time) (left bool, err error) {
	done := p.report.waiting(retry)
	if order != nil {
		order.Wait(due)
		time.AfterFunc(delay, done)
		return true, nil
	}
	defer done()
	return false, sleep(ctx, due)
}

// Close implements service.Processor.
func (p *processor) Close(ctx context.Context) error { return p.children.Close(ctx) }

var _ service.Processor = (*processor)(nil)
