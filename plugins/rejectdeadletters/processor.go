// Package rejectdeadletters is the processor reject_dead_letters: it gives the messages that
// dead_letter has marked an error, so that a reject_errored output leaves them to the next output
// of a fallback.
//
// It keeps number, order and content of the messages, and has no state: one instance serves any
// number of threads.
package rejectdeadletters

import (
	"context"
	"errors"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/deadletter"
)

func init() {
	service.MustRegisterBatchProcessor("reject_dead_letters", spec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchProcessor, error) {
			return processor{}, nil
		})
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Categories("Utility").
		Summary("Gives messages that `dead_letter` has marked an error, so that `reject_errored` rejects them.").
		Description(`
Put it into the `+"`processors`"+` of the first output of a `+"`fallback`"+`. The outputs that follow get their messages as they were, without the error. It does what a `+"`switch`"+` output with a check does, at half the cost.`).
		Example("Sound messages and dead letters", "Both go to topics of their own, in either error-handling mode.", `
output:
  fallback:
    - reject_errored:
        kafka_franz:
          seed_brokers: [ localhost:9092 ]
          topic: orders-processed
      processors:
        - reject_dead_letters: {}
    - kafka_franz:
        seed_brokers: [ localhost:9092 ]
        topic: orders-dlq
`)
}

var errDeadLetter = errors.New("dead letter: it is for the next output")

type processor struct{}

// ProcessBatch implements service.BatchProcessor.
func (processor) ProcessBatch(_ context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	for _, msg := range batch {
		if mark, _ := msg.MetaGetImmut(deadletter.MetaMark); mark == true {
			msg.SetError(errDeadLetter)
		}
	}
	return []service.MessageBatch{batch}, nil
}

// Close has nothing to do.
func (processor) Close(context.Context) error { return nil }

var _ service.BatchProcessor = processor{}
