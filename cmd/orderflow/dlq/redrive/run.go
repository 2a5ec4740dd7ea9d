package redrive

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/cmd/orderflow/environment"
	"github.com/orderflow/orderflow/config"
	"github.com/orderflow/orderflow/plugins/dlqredrive"
)

const (
	pipeline = "pipelines/dlq_redrive.yaml"
	// reachTimeout is how long the broker may take to answer before anything was begun. Later
	// the pipeline waits for it.
	reachTimeout = 10 * time.Second
	// stopTimeout is how long an interrupted run may take to end its transaction.
	stopTimeout = 30 * time.Second
)

// run runs the pipeline to its end, or until ctx ends. There is a result whenever something may
// have been done.
func run(ctx context.Context, o options, progress io.Writer) (*result, error) {
	if err := o.reach(ctx); err != nil {
		return nil, fmt.Errorf("redriving %s: %w", o.topic, err)
	}
	watch := &dlqredrive.Watch{}
	stream, err := o.build(watch)
	if err != nil {
		return nil, fmt.Errorf("redriving %s: %w", o.topic, err)
	}
	done := make(chan error, 1)
	go func() { done <- stream.Run(context.WithoutCancel(ctx)) }()

	shown := show(watch, o, progress)
	interrupted := false
	select {
	case err = <-done:
	case <-ctx.Done():
		interrupted = true
		_ = stream.StopWithin(stopTimeout) // what was not committed by then, the next run sends
		err = <-done
	}
	shown()
	if err != nil && watch.Report().ID == "" {
		return nil, fmt.Errorf("redriving %s: %w", o.topic, err) // it never began
	}
	r := &result{Report: watch.Report(), samples: watch.Samples(), dryRun: o.dryRun, interrupted: interrupted}
	switch {
	case watch.Err() != nil:
		err = watch.Err()
	case interrupted:
		err = fmt.Errorf("interrupted: %d orders were sent and %d letters parked; run it again to go on", r.Sent, r.Parked)
	case err != nil:
		err = fmt.Errorf("redriving %s: %w", o.topic, err)
	}
	return r, err
}

// reach fails if there is no broker, or no such topic: a pipeline would wait for both.
func (o options) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	cl, err := kgo.NewClient(o.kafka.Opts...)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", o.kafka, err)
	}
	defer cl.Close()
	found, err := kadm.NewClient(cl).ListTopics(ctx, o.topic)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", o.kafka, err)
	}
	if !found.Has(o.topic) {
		return fmt.Errorf("topic %q does not exist", o.topic)
	}
	return nil
}

// build makes the stream. What a user has written is set as fields and not put into the text of
// the pipeline, so that no quoting can go wrong.
func (o options) build(watch *dlqredrive.Watch) (*service.Stream, error) {
	env := service.NewEnvironment()
	if err := dlqredrive.Register(env, watch, o.kafka.Opts...); err != nil {
		return nil, err
	}
	text, err := config.Files.ReadFile(pipeline)
	if err != nil {
		return nil, err
	}
	b := env.NewStreamBuilder()
	lookup, err := environment.InYAML(o.lookup, text)
	if err != nil {
		return nil, err
	}
	b.SetEnvVarLookupFunc(lookup)
	b.SetLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: logLevel(os.Getenv("LOG_LEVEL"))})))
	if err := b.SetYAML(string(text)); err != nil {
		return nil, err
	}
	if err := b.SetMetricsYAML("none: {}"); err != nil {
		return nil, err
	}
	ids := make([]any, len(o.ids))
	for i, id := range o.ids {
		ids[i] = id
	}
	const processor = "pipeline.processors.0.dlq_redrive."
	// The host blanks secrets when fields are set, but not those that are set with them.
	const decode, encode = processor + "decode.0.order_decode.registry.", processor + "encode.1.order_encode.registry."
	if err := b.SetFields(
		"http.enabled", false,
		decode+"url", o.registry.URL, decode+"basic_auth.password", o.registry.Password,
		encode+"url", o.registry.URL, encode+"basic_auth.password", o.registry.Password,
		"input.dlq_redrive.dry_run", o.dryRun,
		processor+"ids", ids,
		processor+"where", o.where,
		processor+"map", o.mapping,
		"output.dlq_redrive.allow_other_target", o.allowOther,
	); err != nil {
		return nil, err
	}
	return b.Build()
}

// lookup is the environment of the pipeline: what the flags say, and nothing else.
func (o options) lookup(name string) (string, bool) {
	value, ok := map[string]string{
		"KAFKA_BROKERS":          o.kafka.String(),
		"DLQ_TOPIC":              o.topic,
		"ORDERS_TOPIC":           o.orders,
		"STATE_TOPIC":            o.state,
		"SCHEMA_REGISTRY_USER":   o.registry.User,
		"SCHEMA_REGISTRY_TLS_CA": o.registry.CA,
		"REDRIVE_RATE":           strconv.FormatFloat(o.rate, 'f', -1, 64),
		"REDRIVE_LIMIT":          strconv.Itoa(o.limit),
		"MAX_REDRIVES":           strconv.Itoa(o.maxRedrives),
		"REDRIVE_TARGET":         o.target,
	}[name]
	return value, ok
}

// logLevel is WARN unless the environment asks for another: what happens is shown otherwise.
func logLevel(name string) slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(name)) != nil {
		return slog.LevelWarn
	}
	return level
}
