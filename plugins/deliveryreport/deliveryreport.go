// Package deliveryreport has the output delivery_report. It hands batches to a child output and
// keeps account of what became of each message: delivered or failed, and after how long. The
// account appears in the log while the pipeline runs, as metrics, and in the summary at the end.
//
// Errors of the child pass through unchanged, also those that name single messages of a batch,
// so the host replays or routes exactly what it would without this output. Batching, retries
// and delivery belong to the child.
//
// WriteBatch is called by up to max_in_flight goroutines; the account has one lock.
package deliveryreport

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/fields"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/summary"
)

const (
	fieldOutput      = "output"
	fieldMaxInFlight = "max_in_flight"
	fieldLogInterval = "log_interval"
	fieldMessageID   = "message_id"
)

// closeLimit bounds the wait for the child's end after a hard stop has left a write behind.
const closeLimit = time.Second

func init() {
	service.MustRegisterBatchOutput("delivery_report", spec(),
		func(parsed *service.ParsedConfig, mgr *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			var none service.BatchPolicy // the child makes its batches
			conf, err := configFromParsed(parsed)
			if err != nil {
				return nil, none, 0, err
			}
			child, err := parsed.FieldOutput(fieldOutput)
			if err != nil {
				return nil, none, 0, fmt.Errorf("field %s: %w", fieldOutput, err)
			}
			return newOutput(conf, child, mgr, time.Now, summary.Default), none, conf.maxInFlight, nil
		})
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Categories("Utility").
		Summary("Passes messages to a child output and reports their delivery: how many were delivered, how many failed, and how long it took.").
		Description(`
The latency of a delivery is the time from handing the message to the child until the child confirms it, with the time that the child needs to fill a batch.

A failed delivery is passed on as it is, so the message is sent again by the input or routed by an output around this one. A message counts as failed in the summary while its last delivery has failed; it is recognised by its content when it comes again.`).
		Fields(
			service.NewOutputField(fieldOutput).
				Description("The child output."),
			service.NewIntField(fieldMaxInFlight).
				Description("The most batches that wait for the child at a time, at least 1. The child's own `max_in_flight` still holds. Where the child makes batches of its own from single messages, this must be at least the size of these batches, or they fill up by time only. With `1`, batches reach the child strictly in order.").
				Default(256).
				Example(1),
			service.NewDurationField(fieldLogInterval).
				Description("A line with the running figures is written to the log at most this often, when something was delivered or has failed. With `0s` there is one for each batch.").
				Default("5s").
				Example("1m"),
			service.NewInterpolatedStringField(fieldMessageID).
				Description("What names a message in the log line that each delivery gets at level `DEBUG`. If empty, a message is named by its place in the batch.").
				Default("").
				Example("${! @order_id }"),
		).
		Example("Confirmed writes to Kafka", "Reports how the writes to a topic went.", `
output:
  delivery_report:
    output:
      kafka_franz:
        seed_brokers: [ localhost:9092 ]
        topic: orders
        batching:
          count: 100
          period: 10ms
`)
}

type config struct {
	maxInFlight int
	logInterval time.Duration
	messageID   *service.InterpolatedString // nil: by place
}

func configFromParsed(parsed *service.ParsedConfig) (conf config, err error) {
	f := fields.Of(parsed)
	conf.maxInFlight = f.AtLeast(fieldMaxInFlight, 1)
	conf.logInterval = f.Interval(fieldLogInterval)
	text := f.Optional(fieldMessageID)
	if err := f.Err(); err != nil {
		return conf, err
	}
	if text == "" {
		return conf, nil
	}
	if conf.messageID, err = parsed.FieldInterpolatedString(fieldMessageID); err != nil {
		return conf, fmt.Errorf("field %s: %q is not allowed, allowed is a string with Bloblang functions: %w", fieldMessageID, text, err)
	}
	return conf, nil
}

// child is what is needed of a service.OwnedOutput.
type child interface {
	ConnectionTest(context.Context) service.ConnectionTestResults
	Prime() error
	WriteBatch(context.Context, service.MessageBatch) error
	Close(context.Context) error
}

type output struct {
	child child
	conf  config
	now   func() time.Time
	log   *service.Logger
	tally *tally
	seed  maphash.Seed

	mDelivered, mFailed *service.MetricCounter
	mLatency            *service.MetricTimer

	primeMu   sync.Mutex
	primed    bool
	abandoned atomic.Bool // the context ended during a write: the child may still be at it

	progressMu sync.Mutex
	progress   time.Time // of the last line
}

func newOutput(conf config, c child, mgr *service.Resources, now func() time.Time, report *summary.Report) *output {
	o := &output{
		child:      c,
		conf:       conf,
		now:        now,
		log:        mgr.Logger(),
		tally:      newTally(),
		seed:       maphash.MakeSeed(),
		mDelivered: mgr.Metrics().NewCounter("orderflow_delivery_total"),
		mFailed:    mgr.Metrics().NewCounter("orderflow_delivery_failed_total"),
		mLatency:   mgr.Metrics().NewTimer("orderflow_delivery_latency_seconds"),
		progress:   now(),
	}
	report.Add(section(o.tally.figures))
	return o
}

// ConnectionTest is that of the child.
func (o *output) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	return o.child.ConnectionTest(ctx)
}

// Connect starts the child, which then connects by itself. The host calls Connect again when
// the child reports a lost connection; a child can be started only once.
func (o *output) Connect(context.Context) error {
	o.primeMu.Lock()
	defer o.primeMu.Unlock()
	if o.primed {
		return nil
	}
	if err := o.child.Prime(); err != nil {
		return fmt.Errorf("starting child output: %w", err)
	}
	o.primed = true
	return nil
}

func (o *output) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	hashes := o.hashes(batch) // before the child's processors change what the messages hold
	var index *service.Indexer
	if len(batch) > 1 {
		index = batch.Index()
	}

	o.tally.begin(hashes)
	start := o.now()
	err := o.child.WriteBatch(ctx, batch)
	latency := o.now().Sub(start)
	id := o.conf.messageID
	if err != nil && ctx.Err() != nil {
		o.abandoned.Store(true)
		id = nil // the child may be changing the messages
	}

	failures := failuresOf(err, index, len(batch))
	delivered, undelivered := o.tally.end(hashes, failures, latency)
	if delivered > 0 {
		o.mDelivered.Incr(int64(delivered))
	}
	if undelivered > 0 {
		o.mFailed.Incr(int64(undelivered))
	}
	for i, msg := range batch {
		name := messageName{id, msg, i}
		if failures != nil && failures[i] != nil {
			o.log.Debugf("Delivery of message %v failed after %v: %v", name, latency, shown.Err(failures[i]))
			continue
		}
		o.mLatency.Timing(latency.Nanoseconds())
		o.log.Debugf("Delivered message %v in %v", name, latency)
	}
	o.logProgress()
	return err
}

// hashes tells messages from each other by their content.
func (o *output) hashes(batch service.MessageBatch) []uint64 {
	all := make([]uint64, len(batch))
	for i, msg := range batch {
		b, _ := msg.AsBytes() // what cannot be encoded is an empty content, as it is to the child
		all[i] = maphash.Bytes(o.seed, b)
	}
	return all
}

// failuresOf finds which messages of a batch an error of the child is about: those that a batch
// error names, else all. It returns nil if there is no error.
func failuresOf(err error, index *service.Indexer, n int) []error {
	if err == nil {
		return nil
	}
	failures, named := make([]error, n), false
	if of, ok := errors.AsType[*service.BatchError](err); ok && index != nil {
		of.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
			if err != nil && i >= 0 && i < n {
				failures[i], named = err, true
			}
			return true
		})
	}
	for i := range failures {
		if !named {
			failures[i] = err
		}
	}
	return failures
}

func (o *output) logProgress() {
	now := o.now()
	o.progressMu.Lock()
	if now.Sub(o.progress) < o.conf.logInterval {
		o.progressMu.Unlock()
		return
	}
	o.progress = now
	o.progressMu.Unlock()
	f := o.tally.figures()
	o.log.With(
		"produced", f.produced,
		"failed", f.failed,
		"failed_attempts", f.failedAttempts,
		"average", milliseconds(f.average),
		"p50", milliseconds(f.p50),
		"p99", milliseconds(f.p99),
	).Info("Deliveries")
}

// Close ends the child and waits for it: it may have to flush. The host gives no deadline here,
// and a child cannot be told to stop at once; so after a hard stop it gets little time.
func (o *output) Close(ctx context.Context) error {
	o.primeMu.Lock()
	primed := o.primed
	o.primeMu.Unlock()
	if !primed {
		return nil // a child that was never started never ends
	}
	if o.abandoned.Load() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, closeLimit)
		defer cancel()
	}
	if err := o.child.Close(ctx); err != nil {
		return fmt.Errorf("closing child output: %w", err)
	}
	return nil
}

// messageName is worked out only if the log shows the line that it is for.
type messageName struct {
	id    *service.InterpolatedString
	msg   *service.Message
	place int
}

func (n messageName) String() string {
	if n.id != nil {
		if name, err := n.id.TryString(n.msg); err == nil {
			return shown.Text(name)
		}
	}
	return fmt.Sprintf("%d of its batch", n.place)
}

var (
	_ service.BatchOutput        = (*output)(nil)
	_ service.ConnectionTestable = (*output)(nil)
)
