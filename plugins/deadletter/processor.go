// Package deadletter is the processor dead_letter: it turns a message that failed into a dead
// letter, with its original bytes, what is known of the failure as metadata in the dialect that
// its readers expect, and without the error.
//
// Guarantees: one message in, one message out (child processors and what is put back apart), in order. No
// metadata of the record is removed but the headers of an older failure, in whatever dialect,
// and a forged mark. A failure that
// only says that the work was cut short, as at shutdown, is left on the message; one that says that
// nobody could judge the message puts it back into its session, if it comes from one.
//
// It works on single messages, so that child processors may drop one, and it holds nothing
// between messages but counters: one instance serves any number of threads.
package deadletter

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/children"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/fields"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/internal/summary"
)

const (
	fieldGroup      = "group"
	fieldDialect    = "dialect"
	fieldOriginal   = "original_value"
	fieldStage      = "stage"
	fieldAll        = "all"
	fieldError      = "error"
	fieldProcessors = "processors"
)

func init() {
	service.MustRegisterProcessor("dead_letter", spec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.Processor, error) {
			return fromParsed(conf, mgr, summary.Default)
		})
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Categories("Utility").
		Summary("Turns a message that failed into a dead letter: its original bytes, what is known of the failure as metadata, and no error.").
		Description(`
A message without an error passes. A message with an error becomes a dead letter: its content is again what it was when it came, the failure is described by the metadata `+"`dlq_id`, `dlq_class`, `dlq_code`, `dlq_error`, `dlq_stage`, `dlq_attempts`, `dlq_attempt_times`, `dlq_first_failed_at`, `dlq_last_failed_at`, `dlq_topic`, `dlq_partition`, `dlq_offset`, `dlq_timestamp`, `dlq_group` and `dlq_redrives`"+`, the metadata `+"`dead_letter`"+` is the boolean true, and the error is gone, so that outputs take it also under strict error handling. What is not known is left out.

Let the first leg of a `+"`fallback`"+` output refuse what is so marked, and the second write it to the dead-letter topic.

Under `+"`error_handling.strict`"+` the host lets a failed message skip all processors that follow, this one too. So put the processors that may fail inside it, into the field `+"`processors`"+`; that works in both modes.

An error that says that a message could not be judged, since what is needed for it did not answer (such as a schema registry), makes no dead letter of a message of the input `+"`kafka_transactional`"+`: it waits, 1 s at first and up to 30 s, and is handed out again. With other inputs it becomes one.

An error that only says that the work was cut short (the host stops, or the error is "context canceled") stays on the message.`).
		Fields(
			service.NewStringField(fieldGroup).
				Description("The consumer group that read the message, for `dlq_group`.").
				Default("").Example("${CONSUMER_GROUP:orderflow}"),
			service.NewStringAnnotatedEnumField(fieldDialect, map[string]string{
				string(deadletter.Native):   "The names above, all UTF-8 text.",
				string(deadletter.Spring):   "`kafka_dlt-…`, as Spring for Apache Kafka writes them: numbers are big-endian binary.",
				string(deadletter.Connect):  "`__connect.errors.…`, as Kafka Connect writes them.",
				string(deadletter.Streams):  "`__streams.errors.…`, as Kafka Streams writes them.",
				string(deadletter.SmallRye): "`dead-letter-…`, as SmallRye Reactive Messaging writes them.",
			}).
				Description("The names and encodings in which the failure is described. What a dialect has no name for, such as the attempts, keeps the name above. The output has to let the names through: in its field `metadata`, or else.").
				Default(string(deadletter.Native)),
			service.NewStringField(fieldOriginal).
				Description("The metadata that holds the original content as bytes, as `order_decode` leaves it. Only bytes count: a record header of that name is a string. Without it a message of the input `kafka_transactional` gets the value of its record; of other inputs the content stays what it is, or, of a message that failed in `processors`, becomes what it was before them.").
				Default("original_value"),
			service.NewStringField(fieldStage).
				Description("The value of `dlq_stage`. When empty it is the label, else the name, of the component that failed, where that is known.").
				Default("").Example("enrichment"),
			service.NewBoolField(fieldAll).
				Description("Whether every message that is not yet marked becomes a dead letter, also one without an error: for the second leg of a `fallback`, where such a message was refused by the first. Its class is then `permanent`, its code `output_refused`, its stage `output`.").
				Default(false),
			service.NewInterpolatedStringField(fieldError).
				Description("With `all`: the error text of a message that carries no error.").
				Default("${! @fallback_error }"),
			service.NewProcessorListField(fieldProcessors).
				Description("Processors that run on each message first. One that fails skips those that follow.").
				Default([]any{}),
		).
		LintRule(`root = if this.all.or(false) && this.processors.or([]).length() > 0 { "processors cannot be used together with all" }`).
		Example("Processed topic and dead-letter topic", "What failed goes to `orders-dlq`, and so does what the processed topic refuses.", `
pipeline:
  processors:
    - dead_letter:
        group: orderflow
        processors:
          - mapping: root = if this.price > 0 { this } else { throw("no price") }
output:
  fallback:
    - switch:
        cases:
          - check: '@dead_letter != true'
            output:
              redpanda:
                seed_brokers: [ localhost:9092 ]
                topic: orders-processed
          - output:
              reject: dead letter
    - retry:
        output:
          redpanda:
            seed_brokers: [ localhost:9092 ]
            topic: orders-dlq
            metadata:
              include_prefixes: [ dlq_ ]
      processors:
        - dead_letter:
            group: orderflow
            all: true
`)
}

func fromParsed(conf *service.ParsedConfig, mgr *service.Resources, sum *summary.Report) (*processor, error) {
	f := fields.Of(conf)
	p := &processor{
		report:   newReport(mgr.Metrics()),
		group:    f.Optional(fieldGroup),
		original: f.Optional(fieldOriginal),
		stage:    f.Optional(fieldStage),
		all:      f.Bool(fieldAll),
	}
	var err error
	p.dialect, err = deadletter.ParseDialect(f.Optional(fieldDialect))
	f.Fail(fieldDialect, err)
	if p.original == "" {
		f.Fail(fieldOriginal, errors.New(`"": want the name of a metadata key`))
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	if p.errorText, err = conf.FieldInterpolatedString(fieldError); err != nil {
		return nil, err
	}
	if p.children, err = children.FromParsed(conf, fieldProcessors); err != nil {
		return nil, err
	}
	if p.all && p.children.Len() > 0 {
		return nil, errors.New("field all: true: want false where there are processors")
	}

	suffix := ""
	if mgr.Label() != "" {
		suffix = " (" + mgr.Label() + ")"
	}
	sum.Add(func(w io.Writer) {
		if p.all {
			p.report.refusals(w, "Refused by the output"+suffix)
		} else {
			p.report.section(w, "Orders"+suffix)
		}
	})
	return p, nil
}

type processor struct {
	group     string
	dialect   deadletter.Dialect
	original  string
	stage     string
	all       bool
	errorText *service.InterpolatedString
	children  *children.Chain
	report    *report
}

// Process implements service.Processor.
func (p *processor) Process(ctx context.Context, msg *service.Message) (service.MessageBatch, error) {
	if mark, _ := msg.MetaGetImmut(deadletter.MetaMark); mark == true {
		return service.MessageBatch{msg}, nil
	}
	err := msg.GetError()
	if p.children.Len() > 0 && err == nil {
		return p.runChildren(ctx, msg)
	}
	switch {
	case err != nil:
		return p.failed(ctx, msg, err, children.Stage(msg, err))
	case p.all:
		return p.failed(ctx, msg, failure.NewPermanent(codeRefused, errors.New(p.refusal(msg))), stageOutput)
	default:
		return p.passed(msg), nil
	}
}

// runChildren lets the children work on a copy, so that the message is still there as it came
// when one of them fails.
func (p *processor) runChildren(ctx context.Context, msg *service.Message) (service.MessageBatch, error) {
	out, failed, err := p.children.Run(ctx, msg.Copy())
	switch {
	case err != nil:
		return nil, err
	case failed != nil:
		// The original content may be in metadata that a child has set; anything else of the
		// dead letter is the message as it came.
		if b, ok := p.originalOf(failed.Message); ok {
			msg.SetBytes(b)
		}
		return p.failed(ctx, msg, failed.Err, failed.Stage)
	}
	for _, m := range out {
		p.passed(m)
	}
	return out, nil
}

func (p *processor) passed(msg *service.Message) service.MessageBatch {
	mark, ok := msg.MetaGetImmut(deadletter.MetaMark)
	if mark == true {
		return service.MessageBatch{msg} // a child made and counted it
	}
	if ok {
		msg.MetaDelete(deadletter.MetaMark)
	}
	p.report.pass()
	return service.MessageBatch{msg}
}

// failed makes msg a dead letter, unless its error says that the host stops: then all of its
// batch is answered with an error anyway, and delivered again.
func (p *processor) failed(ctx context.Context, msg *service.Message, err error, stage string) (service.MessageBatch, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if interrupted(err) && !p.all {
		msg.SetError(err)
		return service.MessageBatch{msg}, nil
	}
	if order, ok := orderOf(msg); ok && failure.Unavailable(err) {
		_, code := failure.Of(err)
		session.PutBack(order, time.Now(), code, err.Error())
		p.report.putBackTotal.Incr(1)
		return nil, nil
	}
	if p.stage != "" {
		stage = p.stage
	}
	letter := write(msg.MetaGetImmut, err, stage, p.group, time.Now())

	forget(msg)
	for _, h := range letter.Headers(p.dialect) {
		msg.MetaSetMut(h.Name, string(h.Value)) // of any bytes: as a header that came in
	}
	msg.MetaSetMut(deadletter.MetaMark, true)
	if b, ok := p.originalOf(msg); ok {
		msg.SetBytes(b)
	}
	msg.SetError(nil)
	p.report.letter(letter.Class, letter.Code)
	return service.MessageBatch{msg}, nil
}

// forget drops what the message says of an older failure.
func forget(msg *service.Message) {
	var old []string
	_ = msg.MetaWalkMut(func(name string, _ any) error {
		if deadletter.IsOurs(name) {
			old = append(old, name)
		}
		return nil
	})
	for _, name := range old {
		msg.MetaDelete(name)
	}
}

// refusal is the error text for a message that carries no error.
func (p *processor) refusal(msg *service.Message) string {
	text, err := p.errorText.TryString(msg)
	if err != nil || text == "" || text == "null" {
		return "refused by the output"
	}
	return text
}

// originalOf returns a message's content as it came: what a processor has kept, else what the
// session has that the message comes from.
func (p *processor) originalOf(msg *service.Message) ([]byte, bool) {
	if v, ok := msg.MetaGetImmut(p.original); ok {
		if b, ok := bytesOf(v); ok {
			return b, true
		}
	}
	if order, ok := orderOf(msg); ok {
		return order.Content(), true
	}
	return nil, false
}

// orderOf returns the order of a message that comes from a session.
func orderOf(msg *service.Message) (session.Order, bool) {
	place, ok := session.PlaceOf(msg.MetaGetImmut)
	if !ok {
		return nil, false
	}
	return session.Of(msg.Context(), place)
}

// bytesOf returns a value as bytes if that is what it is. Of a null value they are nil.
func bytesOf(v any) ([]byte, bool) {
	if i, ok := v.(service.ImmutableAny); ok {
		v = i.V
	}
	b, ok := v.([]byte)
	return b, ok
}

// Close implements service.Processor.
func (p *processor) Close(ctx context.Context) error { return p.children.Close(ctx) }

var _ service.Processor = (*processor)(nil)
