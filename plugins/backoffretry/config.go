package backoffretry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/backoff"
	"github.com/orderflow/orderflow/internal/children"
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

// permanentAnswers is a query that says no to the answers of a service that an order itself is the
// reason for. The host's error has the status in its first parentheses, and may quote anything later.
const permanentAnswers = `!error().re_match("^[^(]*response code [(](400|404|410|413|422)[)]")`

// defaultDelays is the default of fieldDelays.
var defaultDelays = []string{"1s", "2s", "4s"}

// exponentialFields are the alternative to fieldDelays.
var exponentialFields = []string{fieldInitial, fieldMultiplier, fieldMax, fieldJitter, fieldRetries}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Categories("Composition").
		Summary("Runs child processors on each message and, if they fail, runs them again after exact delays.").
		Description(`
Each attempt starts from the message as it came: its content, its metadata, and without an error. The children see the number of the attempt, from 1, as the metadata `+"`attempt`"+`, which is gone again (or is again the header that it was) afterwards. A child that fails ends the attempt: the children that follow are skipped, in both error-handling modes. If a child makes several messages of one and any of them fails, the attempt has failed. If a child drops the message, it is dropped.

A failure whose class is permanent is not retried. A failure of a stock processor has no class: `+"`retry_if`"+` decides on it. A message that still fails goes on as it came, carrying the error of its last attempt, with the text `+"`Max retries exceeded: …`"+` if the retries were used up; `+"`dead_letter`"+` makes a dead letter of it.

A message that arrives with an error that is already final, that is permanent, interrupted, or of another `+"`backoff_retry`"+`, is not tried but passed on as it is. One that arrives with an error whose class is transient, such as of an `+"`order_decode`"+` before this processor, has failed an attempt: with the input `+"`kafka_transactional`"+` it waits, and passes the processors before this one again; with other inputs nothing brings it back there, and it is passed on as it is. Any other error is cleared.

Where what is needed to judge a message did not answer, such as a schema registry, that is no attempt. The message waits, 1 s at first and up to 30 s, until there is an answer.

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
				Description("Whether to retry a failure that has no class, such as one of a stock processor: a query on the failed message that gives a boolean; `error()` is the error. Without it such failures are retried. Name what is known to be permanent rather than what may pass. If the query fails, or gives anything else, the failure is retried too, and that is logged once and counted.").
				Example(permanentAnswers).Optional(),
			breakerField(),
			service.NewProcessorListField(fieldProcessors).
				Description("The child processors.").
				Example([]any{map[string]any{"mapping": `root = if this.price > 0 { this } else { throw("no price") }`}}),
		).
		LintRule(`root = if this.exists("delays") && this.delays.join(",") != "1s,2s,4s" && this.keys().any(k -> ["initial_interval", "multiplier", "max_interval", "jitter", "max_retries"].contains(k)) { "give either delays, or initial_interval, multiplier, max_interval, jitter, max_retries" }`).
		Example("A passing error of a service", "A call is tried again unless the service refuses the order. What still fails becomes a dead letter.", `
pipeline:
  threads: 32
  processors:
    - backoff_retry:
        delays: [ 1s, 2s, 4s ]
        retry_if: '`+permanentAnswers+`'
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
