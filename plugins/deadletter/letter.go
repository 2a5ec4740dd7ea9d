package deadletter

import (
	"context"
	"errors"
	"time"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
)

const (
	// codeRefused and stageOutput describe a sound message that an output did not take.
	codeRefused = "output_refused"
	stageOutput = "output"
)

// metadata looks up a metadata value of a message with the type that was given to it.
type metadata func(name string) (any, bool)

// header looks up what can only be a record header: inputs make strings of those.
func (m metadata) header(name string) (string, bool) {
	v, _ := m(name)
	s, ok := v.(string)
	return s, ok
}

// write makes the letter of a message that failed with err at stage, now.
func write(meta metadata, err error, stage, group string, now time.Time) deadletter.Letter {
	class, code := failure.Of(err)
	l := deadletter.Letter{
		Class: string(class), Code: code, Error: err.Error(), Stage: stage, Group: group,
		AttemptTimes: []time.Time{now},
		Partition:    deadletter.Unknown, Offset: deadletter.Unknown,
	}
	if h, ok := errors.AsType[*failure.History](err); ok && len(h.Attempts) > 0 {
		l.AttemptTimes = h.Attempts
	}
	l.Attempts = len(l.AttemptTimes)
	l.FirstFailedAt, l.LastFailedAt = l.AttemptTimes[0], l.AttemptTimes[l.Attempts-1]

	// The inputs set these with types that a record header of the same name cannot have; only
	// the topic is a string itself.
	l.Topic, _ = meta.header("kafka_topic")
	if v, ok := integer(meta, "kafka_partition"); ok && v >= 0 {
		l.Partition = int(v)
	}
	if v, ok := integer(meta, "kafka_offset"); ok && v >= 0 {
		l.Offset = v
	}
	if v, ok := integer(meta, "kafka_timestamp_ms"); ok {
		l.Timestamp = deadletter.Millis(v)
	}
	l.Identify(meta.header)
	return l
}

func integer(meta metadata, name string) (int64, bool) {
	v, _ := meta(name)
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int32:
		return int64(n), true
	case int64:
		return n, true
	}
	return 0, false
}

// interrupted tells whether an error says nothing of the message, only that the work on it was
// cut short. One that a retry policy has ruled on is not: a service may answer so.
func interrupted(err error) bool {
	if _, tried := errors.AsType[*failure.History](err); tried {
		return false
	}
	return errors.Is(err, context.Canceled)
}
