// Package dlqsummary is the processor dlq_summary: it groups the dead letters that pass by
// what they have in common, warns of each new group, logs how many there are, and reports at the
// end which orders failed and what they are worth.
//
// Guarantees: every message passes unchanged and in order, whatever it is. Counts and the
// total value are exact. Memory is bounded by max_groups and max_orders; it is all in memory,
// so a restart begins at zero. One instance serves any number of threads, under one lock.
package dlqsummary

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/fields"
	"github.com/orderflow/orderflow/internal/query"
	"github.com/orderflow/orderflow/internal/summary"
	"github.com/orderflow/orderflow/internal/terminal"
	"github.com/orderflow/orderflow/internal/triage"
)

const (
	fieldID          = "id"
	fieldAbout       = "about"
	fieldValue       = "value"
	fieldMaxGroups   = "max_groups"
	fieldMaxOrders   = "max_orders"
	fieldLogInterval = "log_interval"

	// maxKept bounds the texts that are kept of a dead letter.
	maxKept = 512
	// maxLabel is how wide the code of a group may be as a label.
	maxLabel = 256
)

func init() {
	service.MustRegisterBatchProcessor("dlq_summary", spec(),
		func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchProcessor, error) {
			return fromParsed(conf, mgr, summary.Default)
		})
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Categories("Utility").
		Summary("Groups the dead letters that pass by class, code and the pattern of their errors, and reports on them.").
		Description(`
Reads the metadata that `+"`dead_letter`"+` writes, in any of its dialects. Messages pass unchanged. In the pattern of an error, numbers, ids, times and quoted values are `+"`*`"+`, so that failures of one kind are one group. Its id is the same in every run, and in `+"`orderflow dlq list`"+`. Each new group is logged as a warning, once a run; a running state is logged at most once per `+"`log_interval`"+`; the summary at the end of the run has the failures by code and pattern, the failed orders, and their exact total value.

A message that a mapping fails on, for example since it is no JSON, is counted as undecodable, and still counted in its group.`).
		Fields(
			service.NewBloblangField(fieldID).
				Description("A query for what a failed order is called. Where it fails or gives nothing, it is the `dlq_id`.").
				Default("root = @dlq_id").Example("root = this.orderId"),
			service.NewBloblangField(fieldAbout).
				Description("A query for one more word about a failed order, for the list.").
				Optional().Example("root = this.product"),
			service.NewBloblangField(fieldValue).
				Description("A query for the value of a failed order: a number, or a string with a decimal number. Null is no value.").
				Optional().Example("root = this.price"),
			service.NewIntField(fieldMaxGroups).
				Description("How many groups are told apart, at least 1, also in metrics. The rest is counted as one, `other`.").
				Default(100),
			service.NewIntField(fieldMaxOrders).
				Description("How many orders are listed, 0 for no list. The others are counted.").
				Default(1000),
			service.NewDurationField(fieldLogInterval).
				Description("The shortest time between two lines in the log, 0s for no lines.").
				Default("10s"),
		).
		Example("A monitor of a dead-letter topic", "Every dead letter passes on to the output; the summary is printed when the pipeline stops.", `
pipeline:
  processors:
    - dlq_summary:
        id: root = this.orderId
        about: root = this.product
        value: root = this.price
`)
}

func fromParsed(conf *service.ParsedConfig, mgr *service.Resources, sum *summary.Report) (*processor, error) {
	f := fields.Of(conf)
	maxGroups, maxOrders := f.AtLeast(fieldMaxGroups, 1), f.AtLeast(fieldMaxOrders, 0)
	interval := f.Interval(fieldLogInterval)
	if err := f.Err(); err != nil {
		return nil, err
	}
	p := &processor{
		interval: interval,
		log:      mgr.Logger(),
		tally:    newTally(maxGroups, maxOrders),
		seen:     mgr.Metrics().NewCounter("orderflow_dlq_summary_dead_letters_total", "class"),
		broken:   mgr.Metrics().NewCounter("orderflow_dlq_summary_undecodable_total"),
		grouped:  mgr.Metrics().NewCounter("orderflow_dlq_summary_group_dead_letters_total", "group", "code"),
		first:    mgr.Metrics().NewGauge("orderflow_dlq_summary_group_first_seen_timestamp_seconds", "group", "code"),
	}
	for field, to := range map[string]**bloblang.Executor{fieldID: &p.id, fieldAbout: &p.about, fieldValue: &p.value} {
		if conf.Contains(field) {
			mapping, err := conf.FieldBloblang(field)
			if err != nil {
				return nil, err
			}
			*to = mapping
		}
	}

	title := "Dead letters"
	if mgr.Label() != "" {
		title += " (" + mgr.Label() + ")"
	}
	sum.Add(func(w io.Writer) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tally.write(w, title)
	})
	return p, nil
}

type processor struct {
	id, about, value *bloblang.Executor // about and value may be nil
	interval         time.Duration
	log              *service.Logger
	seen, broken     *service.MetricCounter
	grouped          *service.MetricCounter
	first            *service.MetricGauge

	mu       sync.Mutex // guards what follows
	tally    *tally
	loggedAt time.Time
	due      *time.Timer // logs what came since; nil when nothing did
	closed   bool
}

// ProcessBatch implements service.BatchProcessor.
func (p *processor) ProcessBatch(_ context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	now := time.Now()
	entries := make([]entry, len(batch))
	for i, m := range batch {
		entries[i] = p.read(m, now)
	}
	if line := p.add(entries, now); line != "" {
		p.log.Info(line)
	}
	return []service.MessageBatch{batch}, nil
}

// add counts the entries and returns a line if it is time to log one.
func (p *processor) add(entries []entry, now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		p.count(e)
	}
	if p.interval == 0 || p.due != nil || p.closed {
		return ""
	}
	// The last dead letters before a quiet time are shown too: a timer sees to it.
	if wait := p.interval - now.Sub(p.loggedAt); wait > 0 {
		p.due = time.AfterFunc(wait, p.logDue)
		return ""
	}
	p.loggedAt = now
	return p.tally.line()
}

// count adds an entry, and warns if it is the first of its kind.
func (p *processor) count(e entry) {
	group, isNew := p.tally.add(e)
	code := terminal.Line(group.Code, maxLabel) // anybody can write a header
	p.grouped.Incr(1, group.ID, code)
	if group.First.Equal(e.At) {
		p.first.Set(group.First.Unix(), group.ID, code)
	}
	if isNew {
		p.log.Warn(announce(group))
	}
}

// logDue logs what came since the last line.
func (p *processor) logDue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.due, p.loggedAt = nil, time.Now()
	p.log.Info(p.tally.line())
}

func (p *processor) read(m *service.Message, now time.Time) entry {
	letter, _ := deadletter.Read(header(m))
	e := entry{Entry: triage.Entry{Class: letter.Class, Code: letter.Code, Text: letter.Error, At: letter.LastFailedAt}, attempts: letter.Attempts}
	if e.At.IsZero() {
		e.At = written(m, now)
	}
	content, _ := m.AsBytes()
	key, _ := m.MetaGet("kafka_key")
	e.NoRecord = key == "" && len(content) == 0 && deadletter.SaysWhereOnly(header(m))

	id, idErr := ask(m, p.id)
	about, aboutErr := ask(m, p.about)
	value, valueErr := ask(m, p.value)
	e.about = text(about)
	e.Name = cmp.Or(text(id), letter.ID, letter.Origin())
	if valueErr == nil && value != nil {
		e.Value, valueErr = aggregate.Parse(value)
		e.HasValue = valueErr == nil
	}
	e.undecodable = idErr != nil || aboutErr != nil || valueErr != nil
	e.Decodable = !e.undecodable

	p.seen.Incr(1, metricClass(e.Class))
	if e.undecodable {
		p.broken.Incr(1)
	}
	return e
}

// written is when the record of a message was written, or now if its input does not tell.
func written(m *service.Message, now time.Time) time.Time {
	if v, _ := m.MetaGetImmut("kafka_timestamp_ms"); v != nil {
		if ms, ok := v.(int64); ok { // a header of that name is a string
			if at := deadletter.Millis(ms); !at.IsZero() {
				return at.Local()
			}
		}
	}
	return now
}

// header looks up the headers of a message. Inputs make strings of them; a null one is nil.
func header(m *service.Message) func(string) ([]byte, bool) {
	return func(name string) ([]byte, bool) {
		v, ok := m.MetaGetImmut(name)
		switch v := v.(type) {
		case string:
			return []byte(v), ok
		case []byte:
			return v, ok
		}
		return nil, ok
	}
}

// metricClass bounds the label: anybody can write a header.
func metricClass(class string) string {
	switch class {
	case "permanent", "transient":
		return class
	}
	return triage.Unknown
}

// ask runs a mapping that may be missing.
func ask(m *service.Message, mapping *bloblang.Executor) (any, error) {
	if mapping == nil {
		return nil, nil
	}
	return query.Value(m, mapping)
}

func text(v any) string {
	switch t := v.(type) {
	case nil:
		return ""
	case string:
		return keep(t)
	default:
		return keep(fmt.Sprint(t))
	}
}

// Close implements service.BatchProcessor.
func (p *processor) Close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true // the summary has it all
	if p.due != nil {
		p.due.Stop()
	}
	return nil
}

var _ service.BatchProcessor = (*processor)(nil)
