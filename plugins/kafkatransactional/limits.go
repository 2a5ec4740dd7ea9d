package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// defaultMaxMessageBytes is assumed where the topic's configuration may not be read.
const defaultMaxMessageBytes = 1_000_012

// limits knows what each topic would refuse, so that a record can be refused before it is
// produced: a refusal by the broker would take everything that is buffered behind it in its
// partition along with the same error.
type limits struct {
	adm   *kadm.Client
	state string

	mu      sync.RWMutex
	topics  map[string]topicLimit
	refused time.Time // when a topic was last asked for again because it would refuse a record
}

type topicLimit struct {
	exists     bool
	doubted    bool // the last look did not find it
	described  bool // what follows was read, and is not a guess
	compacted  bool
	maxBytes   int
	partitions int
}

// errRefused marks what no retry of the same record can cure.
type errRefused struct{ reason string }

func (e *errRefused) Error() string { return e.reason }

func newLimits(adm *kadm.Client, state string) *limits {
	return &limits{adm: adm, state: state, topics: map[string]topicLimit{}}
}

// look asks the cluster about topics, and about those that are known already.
func (l *limits) look(ctx context.Context, topics ...string) error {
	l.mu.RLock()
	for t := range l.topics {
		topics = append(topics, t)
	}
	l.mu.RUnlock()
	if len(topics) == 0 {
		return nil
	}
	details, err := l.list(ctx, topics)
	if err != nil {
		return err
	}
	found := map[string]topicLimit{}
	var existing []string
	for _, t := range topics {
		// What is known stays known until something else is read: an error in passing must not
		// make a topic missing, or its orders would be dead letters.
		limit, known := l.of(t)
		if !known {
			limit.maxBytes = defaultMaxMessageBytes
		}
		switch d, ok := details[t]; {
		case ok && d.Err == nil && len(d.Partitions) > 0:
			limit.exists, limit.doubted, limit.partitions = true, false, len(d.Partitions)
			existing = append(existing, t)
		case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) || errors.Is(d.Err, kerr.InvalidTopicException):
			// A broker that is behind says so of a topic that exists: once is not enough.
			limit.exists, limit.doubted = limit.exists && !limit.doubted, true
		case !known:
			return fmt.Errorf("looking for topic %s: %w", t, d.Err)
		}
		found[t] = limit
	}
	if len(existing) > 0 {
		// Without the right to describe configurations the default is the best guess there is.
		if configs, err := l.adm.DescribeTopicConfigs(ctx, existing...); err == nil {
			for _, rc := range configs {
				if rc.Err == nil {
					found[rc.Name] = found[rc.Name].with(rc.Configs)
				}
			}
		} else if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for t, limit := range found {
		l.topics[t] = limit
	}
	return nil
}

// list asks for the topics. If that is not allowed, the error names the one that it is about.
func (l *limits) list(ctx context.Context, topics []string) (kadm.TopicDetails, error) {
	details, err := l.adm.ListTopicsWithInternal(ctx, topics...)
	if _, denied := errors.AsType[*kadm.AuthError](err); denied {
		for _, t := range topics {
			if _, err := l.adm.ListTopicsWithInternal(ctx, t); err != nil {
				return nil, fmt.Errorf("looking for topic %s: %w", t, err)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", err)
	}
	return details, nil
}

func (t topicLimit) with(configs []kadm.Config) topicLimit {
	t.described = true
	for _, c := range configs {
		if c.Value == nil {
			continue
		}
		switch c.Key {
		case "max.message.bytes":
			if n, err := strconv.Atoi(*c.Value); err == nil {
				t.maxBytes = n
			}
		case "cleanup.policy":
			t.compacted = *c.Value == "compact" || *c.Value == "compact,delete" || *c.Value == "delete,compact"
		}
	}
	return t
}

// again tells whether it is time to ask once more before a record is refused.
func (l *limits) again() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.refused) < time.Second {
		return false
	}
	l.refused = time.Now()
	return true
}

func (l *limits) of(topic string) (topicLimit, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	t, ok := l.topics[topic]
	return t, ok
}

// check returns an *errRefused if the topic would refuse the record.
func (l *limits) check(ctx context.Context, rec *kgo.Record) error {
	if rec.Topic == l.state {
		return &errRefused{fmt.Sprintf("topic %q is the %s", rec.Topic, fieldStateTopic)}
	}
	t, ok := l.of(rec.Topic)
	size := batchSize(rec)
	if !ok || (!t.exists || size >= t.maxBytes) && l.again() {
		if err := l.look(ctx, rec.Topic); err != nil {
			return err
		}
		t, _ = l.of(rec.Topic)
	}
	switch {
	case !t.exists:
		return &errRefused{fmt.Sprintf("topic %q does not exist", rec.Topic)}
	case t.compacted && rec.Key == nil:
		return &errRefused{fmt.Sprintf("topic %q is compacted and takes no record without a key", rec.Topic)}
	case size >= t.maxBytes && !t.described:
		return &errRefused{fmt.Sprintf("record of %d bytes is too large for topic %q, whose configuration may not be read: its max.message.bytes is taken for %d", size, rec.Topic, t.maxBytes)}
	case size >= t.maxBytes:
		return &errRefused{fmt.Sprintf("record of %d bytes is too large for topic %q, whose max.message.bytes is %d", size, rec.Topic, t.maxBytes)}
	}
	return nil
}

// maxState is the size from which the state topic would refuse a record.
func (l *limits) maxState() int {
	if t, ok := l.of(l.state); ok {
		return t.maxBytes
	}
	return defaultMaxMessageBytes
}

// maxBatchBytes bounds what the client puts into one batch, by topic.
func (l *limits) maxBatchBytes(topic string) int32 {
	if t, ok := l.of(topic); ok {
		return int32(t.maxBytes)
	}
	return defaultMaxMessageBytes
}

// batchSize is the size of a batch that holds nothing but rec, uncompressed: what a broker
// compares with max.message.bytes.
// Source: the record batch format, version 2, of the Kafka protocol.
func batchSize(rec *kgo.Record) int {
	n := 3 // attributes, timestamp delta and offset delta of a single record
	n += varintLen(lenOrNull(rec.Key)) + len(rec.Key)
	n += varintLen(lenOrNull(rec.Value)) + len(rec.Value)
	n += varintLen(len(rec.Headers))
	for _, h := range rec.Headers {
		n += varintLen(len(h.Key)) + len(h.Key)
		n += varintLen(lenOrNull(h.Value)) + len(h.Value)
	}
	return 61 + varintLen(n) + n
}

func lenOrNull(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

// varintLen is the length of v as a zigzag varint.
func varintLen(v int) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*errRefused](err)
	return ok
}
