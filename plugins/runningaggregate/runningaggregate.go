// Package runningaggregate has the processor running_aggregate: count, sum, minimum, maximum
// and average of a number that each message has, overall and by group, while messages flow.
//
// It guarantees exact figures: numbers are decimals, and neither the order of the messages nor
// the number of pipeline threads changes a result. A message is never dropped, reordered or
// changed, but for the metadata it is asked to add. A message that came with an error is left
// alone and not counted; one whose value is no finite number gets a permanent error and is not
// counted either.
//
// One instance serves all pipeline threads. The figures have one owner with one lock, and what
// is shown of them, in the log and as gauges, has another (see reporter).
package runningaggregate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/fields"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/internal/summary"
)

const (
	fieldValue          = "value"
	fieldGroupBy        = "group_by"
	fieldMaxGroups      = "max_groups"
	fieldLogInterval    = "log_interval"
	fieldMetadataPrefix = "metadata_prefix"
	fieldName           = "name"
)

// The codes of the errors that messages get.
const (
	codeValue = "value_not_a_number"
	codeGroup = "group_not_readable"
)

// noGroup is the group of messages that have no value to group by.
const noGroup = "none"

func init() {
	service.MustRegisterBatchProcessor("running_aggregate", spec(),
		func(parsed *service.ParsedConfig, mgr *service.Resources) (service.BatchProcessor, error) {
			conf, err := configFromParsed(parsed)
			if err != nil {
				return nil, err
			}
			return newProcessor(conf, mgr, summary.Default), nil
		})
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Categories("Utility").
		Summary("Keeps count, sum, minimum, maximum and average of a number that messages have, overall and by group, with exact decimals.").
		Description(`
The running figures appear in the log, as metrics, as metadata of each message, and in the summary at the end of the run.

A message that carries an error is passed on untouched and is not counted. When the value of a message is missing, NaN, infinite or no number, that message gets a permanent error with the code `+"`value_not_a_number`"+`; the others of its batch are not affected. Numbers may also be strings with a decimal number, such as `+"`\"19.99\"`"+`.

With the input `+"`kafka_transactional`"+` the figures are part of its transactions: they hold exactly the messages whose outcome is committed and that are no dead letters, and survive restarts; what this instance shows are the partitions that it owns. With other inputs they live in memory and begin at zero at each start, and a message that is delivered twice is counted twice.`).
		Fields(
			service.NewBloblangField(fieldValue).
				Description("A Bloblang mapping that gives the number to aggregate. A plain path such as `this.price` is fastest, since it is read without running Bloblang.").
				Default("this").
				Example("this.price").
				Example("this.price * this.quantity"),
			service.NewBloblangField(fieldGroupBy).
				Description("A Bloblang mapping that gives the group of a message. Messages for which it gives null or an empty string are counted in the group `none`. Without a mapping there are overall figures only.").
				Default("").
				Example("this.product").
				Example("@kafka_topic"),
			service.NewIntField(fieldMaxGroups).
				Description("The most groups to keep, at least 1. Messages of further groups, and of groups whose name is longer than 256 bytes, are counted in the group `other`, so that overall figures stay exact. Where instances share the groups, those of single groups may then be too low, which the log and the summary say.").
				Default(1000),
			service.NewDurationField(fieldLogInterval).
				Description("The running figures are written to the log and to the gauges at most this often, and only after a change. With `0s` each message is logged.").
				Default("1s").
				Example("10s"),
			service.NewStringField(fieldMetadataPrefix).
				Description("What the names of the metadata begin with that each counted message gets: `running_average` and `running_count` by default, overall figures that include the message. With an empty prefix messages get none, which is faster.").
				Default("running_"),
			service.NewStringField(fieldName).
				Description("A name for these aggregates in the log and in the summary, for pipelines that have more than one.").
				Default("").
				Example("revenue"),
		).
		Example("Revenue by product", "Aggregates the price of JSON orders, overall and for each product.", `
pipeline:
  processors:
    - running_aggregate:
        value: this.price
        group_by: this.product
`)
}

type config struct {
	value          mapping
	groupBy        mapping
	maxGroups      int
	logInterval    time.Duration
	metadataPrefix string
	name           string
}

func configFromParsed(parsed *service.ParsedConfig) (conf config, err error) {
	if conf.value, err = mappingFromParsed(parsed, fieldValue); err != nil {
		return conf, err
	}
	if conf.value.text == "" {
		return conf, fmt.Errorf("field %s: it is empty, allowed is a Bloblang mapping such as this.price", fieldValue)
	}
	if conf.groupBy, err = mappingFromParsed(parsed, fieldGroupBy); err != nil {
		return conf, err
	}
	f := fields.Of(parsed)
	conf.maxGroups = f.AtLeast(fieldMaxGroups, 1)
	conf.logInterval = f.Interval(fieldLogInterval)
	conf.metadataPrefix, conf.name = f.Optional(fieldMetadataPrefix), f.Optional(fieldName)
	return conf, f.Err()
}

type processor struct {
	stage          string
	value, groupBy mapping
	average, count string // names of metadata; empty: none
	owner          *aggregate.Owner
	sessions       *sessions
	reporter       *reporter
}

func newProcessor(conf config, mgr *service.Resources, report *summary.Report) *processor {
	p := &processor{
		stage:   cmp.Or(mgr.Label(), "running_aggregate"),
		value:   conf.value,
		groupBy: conf.groupBy,
		owner:   aggregate.NewOwner(conf.maxGroups),
	}
	if conf.metadataPrefix != "" {
		p.average, p.count = conf.metadataPrefix+"average", conf.metadataPrefix+"count"
	}
	logger := mgr.Logger()
	if conf.name != "" {
		logger = logger.With("name", conf.name)
	}
	p.sessions = &sessions{name: conf.name, owner: p.owner}
	p.reporter = newReporter(p.owner.Snapshot, conf.logInterval, logger, newGauges(mgr.Metrics()))
	report.Add(section(conf.name, p.sessions.snapshot))
	return p
}

func (p *processor) ProcessBatch(_ context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	counted := 0
	var source session.Session // that the messages so far came from; nearly always of all of them
	for _, msg := range batch {
		if msg.GetError() != nil {
			continue
		}
		group, value, err := p.read(msg)
		if err != nil {
			msg.SetError(failure.At(p.stage, err))
			continue
		}
		order, ok := p.sessions.order(msg)
		if ok && order.Session() != source {
			source = order.Session()
			p.sessions.follow(source)
		}
		p.contribute(msg, order, group, value)
		counted++
	}
	if counted > 0 {
		p.reporter.changed()
	}
	return []service.MessageBatch{batch}, nil
}

// read takes from a message what it contributes.
func (p *processor) read(msg *service.Message) (group string, value aggregate.Decimal, err error) {
	raw, err := p.value.of(msg)
	if err == nil {
		value, err = aggregate.Parse(raw)
	}
	if err != nil {
		return "", value, failure.NewPermanent(codeValue, fmt.Errorf("aggregating %s: %w", p.value.text, err))
	}
	if p.groupBy.text == "" {
		return "", value, nil
	}
	if raw, err = p.groupBy.of(msg); err != nil {
		return "", value, failure.NewPermanent(codeGroup, fmt.Errorf("grouping by %s: %w", p.groupBy.text, err))
	}
	return groupName(raw), value, nil
}

// contribute is the one place where a message's value is applied. What comes from a session is
// handed to it too: it counts the value when the message's outcome is committed.
func (p *processor) contribute(msg *service.Message, order session.Order, group string, value aggregate.Decimal) {
	if order != nil {
		order.Contribute(p.sessions.name, p.owner.Named(group), value, newFoldable)
	}
	count, average := p.owner.Apply(group, value)
	if p.average != "" {
		msg.MetaSetMut(p.average, average.String())
		msg.MetaSetMut(p.count, count)
	}
	if p.reporter.interval == 0 {
		p.reporter.logMessage(group, value, count, average)
	}
}

func (p *processor) Close(context.Context) error {
	p.reporter.close()
	return nil
}

var _ service.BatchProcessor = (*processor)(nil)
