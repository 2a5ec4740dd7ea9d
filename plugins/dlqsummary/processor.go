// Package dlqsummary is the processor dlq_summary: it groups the dead letters that pass by
// their error, logs how many there are, and reports at the end which orders failed and what
// they are worth.
//
// Guarantees: every message passes unchanged and in order, whatever it is. Counts and the
// total value are exact. Memory is bounded by max_groups and max_orders; it is all in memory,
// so a restart begins at zero. One instance serves any number of threads, under one lock.
package dlqsummary

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/summary"
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
	// unknown is the class and code of a message that carries no dead-letter headers.
	unknown = "unknown"
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
		Summary("Groups the dead letters that pass by class, code and error, and reports on them.").
		Description(`
Reads the metadata that `+"`dead_letter`"+` writes. Messages pass unchanged. A running state is logged at most once per `+"`log_interval`"+`; the summary at the end of the run has the failures by code and error, the failed orders, and their exact total value.

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
				Description("How many groups are told apart, at least 1. The rest is counted as one.").
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
	maxGroups, err := conf.FieldInt(fieldMaxGroups)
	if err != nil {
		return nil, err
	}
	if maxGroups < 1 {
		return nil, fmt.Errorf("field %s: %d: want a number of at least 1", fieldMaxGroups, maxGroups)
	}
	maxOrders, err := conf.FieldInt(fieldMaxOrders)
	if err != nil {
		return nil, err
	}
	if maxOrders < 0 {
		return nil, fmt.Errorf("field %s: %d: want a number of at least 0", fieldMaxOrders, maxOrders)
	}
	text, err := conf.FieldString(fieldLogInterval)
	if err != nil {
		return nil, err
	}
	interval, err := time.ParseDuration(text)
	if err != nil || interval < 0 {
		return nil, fmt.Errorf("field %s: %q: want a duration such as 10s, or 0s for none", fieldLogInterval, text)
	}

	p := &processor{
		interval: interval,
		log:      mgr.Logger(),
		tally:    newTally(maxGroups, maxOrders),
		seen:     mgr.Metrics().NewCounter("orderflow_dlq_summary_dead_letters_total", "class"),
		broken:   mgr.Metrics().NewCounter("orderflow_dlq_summary_undecodable_total"),
	}
	for field, to := range map[string]**bloblang.Executor{fieldID: &p.id, fieldAbout: &p.about, fieldValue: &p.value} {
		if conf.Contains(field) {
			if *to, err = conf.FieldBloblang(field); err != nil {
				return nil, err
			}
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
		p.tally.add(e)
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
	letter, _ := deadletter.Read(m.MetaGet)
	e := entry{class: keep(letter.Class), code: keep(letter.Code), err: keep(letter.Error), attempts: letter.Attempts, at: letter.LastFailedAt}
	if e.class == "" {
		e.class = unknown
	}
	if e.code == "" {
		e.code = unknown
	}
	if e.at.IsZero() {
		e.at = now
	}

	id, idErr := query(m, p.id)
	about, aboutErr := query(m, p.about)
	value, valueErr := query(m, p.value)
	e.id, e.about = text(id), text(about)
	if e.id == "" {
		e.id = keep(letter.ID)
	}
	if valueErr == nil && value != nil {
		e.value, valueErr = aggregate.Parse(value)
		e.hasValue = valueErr == nil
	}
	e.undecodable = idErr != nil || aboutErr != nil || valueErr != nil

	p.seen.Incr(1, metricClass(e.class))
	if e.undecodable {
		p.broken.Incr(1)
	}
	return e
}

// metricClass bounds the label: anybody can write a header.
func metricClass(class string) string {
	switch class {
	case "permanent", "transient":
		return class
	}
	return unknown
}

// query runs a mapping that may be missing. A deleted root, or null, is no value. (In
// BloblangQueryValue, which would be simpler, there is no `this`.)
func query(m *service.Message, e *bloblang.Executor) (any, error) {
	if e == nil {
		return nil, nil
	}
	res, err := m.BloblangQuery(e)
	if err != nil || res == nil {
		return nil, err
	}
	if res.HasStructured() {
		return res.AsStructured()
	}
	b, err := res.AsBytes()
	if err != nil || string(b) == "null" {
		return nil, err
	}
	return string(b), nil
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

// keep cuts a text that stays in memory, and lets go of the message that it is a part of.
func keep(s string) string { return strings.Clone(s[:min(len(s), maxKept)]) }

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
