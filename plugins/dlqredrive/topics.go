package dlqredrive

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/orderflow/orderflow/internal/redrive"
)

// defaultMaxBytes is assumed where a topic's configuration may not be read.
const defaultMaxBytes = 1_000_012

// topics knows the topics that are written to: which exist, and how large a batch each takes.
type topics struct {
	adm *kadm.Client

	mu       sync.Mutex
	maxBytes map[string]int32 // of those that exist
}

// kept are the configs that the parking topic takes over from the dead-letter topic, so that it
// has room for what comes from there, and keeps it as long.
var kept = []string{"max.message.bytes", "retention.ms"}

// create makes the redrive and the parking topic of a dead-letter topic where they are missing.
func (t *topics) create(ctx context.Context, letters, parking string) error {
	redrives := redrive.Topic(letters)
	found, err := t.adm.ListTopics(ctx, letters, redrives, parking)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	if !found.Has(letters) {
		return fmt.Errorf("topic %q does not exist", letters)
	}
	if err := found[letters].Err; err != nil {
		return fmt.Errorf("looking for topic %s: %w", letters, err)
	}
	partitions := int32(len(found[letters].Partitions))
	compact := "compact"
	parked := map[string]*string{}
	if configs, err := t.adm.DescribeTopicConfigs(ctx, letters); err == nil {
		if rc, err := configs.On(letters, nil); err == nil {
			for _, c := range rc.Configs {
				for _, name := range kept {
					if c.Key == name && c.Value != nil {
						parked[name] = c.Value
					}
				}
			}
		}
	}
	for name, configs := range map[string]map[string]*string{redrives: {"cleanup.policy": &compact}, parking: parked} {
		if found.Has(name) {
			continue
		}
		if _, err := t.adm.CreateTopic(ctx, partitions, -1, configs, name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("creating topic %s: %w", name, err)
		}
	}
	return nil
}

// exists tells whether there is a topic, and remembers one that there is.
func (t *topics) exists(ctx context.Context, topic string) (bool, error) {
	t.mu.Lock()
	_, known := t.maxBytes[topic]
	t.mu.Unlock()
	if known {
		return true, nil
	}
	found, err := t.adm.ListTopics(ctx, topic)
	if err != nil {
		return false, fmt.Errorf("looking for topic %s: %w", topic, err)
	}
	if d := found[topic]; d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) && !errors.Is(d.Err, kerr.InvalidTopicException) {
		return false, fmt.Errorf("looking for topic %s: %w", topic, d.Err)
	}
	if !found.Has(topic) || found[topic].Err != nil {
		return false, nil
	}
	limit := int32(defaultMaxBytes)
	if configs, err := t.adm.DescribeTopicConfigs(ctx, topic); err == nil {
		if rc, err := configs.On(topic, nil); err == nil {
			for _, c := range rc.Configs {
				if n, err := strconv.ParseInt(c.MaybeValue(), 10, 32); c.Key == "max.message.bytes" && err == nil {
					limit = int32(n)
				}
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maxBytes[topic] = limit
	return true, nil
}

// batchBytes bounds what goes into one batch, by topic.
func (t *topics) batchBytes(topic string) int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.maxBytes[topic]; ok {
		return n
	}
	return defaultMaxBytes
}
