package dlqredrive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

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
		return fmt.Errorf("listing topics %s, %s and %s: %w", letters, redrives, parking, err)
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
	for name, value := range t.configs(ctx, letters) {
		if slices.Contains(kept, name) {
			parked[name] = value
		}
	}
	var made []string
	for name, configs := range map[string]map[string]*string{redrives: {"cleanup.policy": &compact}, parking: parked} {
		if found.Has(name) {
			continue
		}
		if _, err := t.adm.CreateTopic(ctx, partitions, -1, configs, name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("creating topic %s: %w", name, err)
		}
		made = append(made, name)
	}
	return t.await(ctx, made)
}

// lookAgain is the time between two looks for a topic that was just made.
const lookAgain = 100 * time.Millisecond

// await returns once topics that were made are seen. Until then a broker that has not heard of them
// calls them missing, and so does our own client, which remembers what it was told before.
func (t *topics) await(ctx context.Context, made []string) error {
	for _, topic := range made {
		for {
			found, err := t.adm.ListTopics(ctx, topic)
			if err != nil {
				return fmt.Errorf("looking for new topic %s: %w", topic, err)
			}
			if d, ok := found[topic]; ok && d.Err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("waiting for new topic %s: %w", topic, ctx.Err())
			case <-time.After(lookAgain):
			}
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
	if value := t.configs(ctx, topic)["max.message.bytes"]; value != nil {
		if n, err := strconv.ParseInt(*value, 10, 32); err == nil {
			limit = int32(n)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maxBytes[topic] = limit
	return true, nil
}

// configs are those of a topic that have a value, none where they may not be read.
func (t *topics) configs(ctx context.Context, topic string) map[string]*string {
	found, err := t.adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil
	}
	values := map[string]*string{}
	for _, rc := range found {
		for _, c := range rc.Configs {
			if c.Value != nil {
				values[c.Key] = c.Value
			}
		}
	}
	return values
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
