package kafkatransactional

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// asideAge bounds how long a partition is left aside once the state topic has one for it.
const asideAge = 5 * time.Second

// setAside takes partitions out of offsets, so that they are not read, for which the state topic
// has none: they were added to their topic while this client runs. The others go on.
func (c *client) setAside(ctx context.Context, offsets map[string]map[int32]kgo.Offset) error {
	state, err := c.statePartitions(ctx, offsets)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, numbers := range offsets {
		for number := range numbers {
			if number < state {
				continue
			}
			if delete(numbers, number); len(numbers) == 0 {
				delete(offsets, topic)
			}
			c.aside[topicPartition{topic, number}] = struct{}{}
			c.log.Errorf("Partition %s/%d waits, since the state topic %q has %d partitions only: add as many as %s has", topic, number, c.conf.stateTopic, state, topic)
		}
	}
	return nil
}

// statePartitions tells how many there are. It asks anew if one of those in offsets seems to lack.
func (c *client) statePartitions(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (int32, error) {
	state, _ := c.limits.of(c.conf.stateTopic)
	for _, numbers := range offsets {
		for number := range numbers {
			if int(number) < state.partitions {
				continue
			}
			if err := c.limits.look(ctx, c.conf.stateTopic); err != nil {
				return 0, err
			}
			state, _ = c.limits.of(c.conf.stateTopic)
			return int32(state.partitions), nil
		}
	}
	return int32(state.partitions), nil
}

// lookAge is how old the knowledge of topics may get. c.mu must be held.
func (c *client) lookAge() time.Duration {
	if len(c.aside) > 0 {
		return asideAge
	}
	return limitsAge
}

// complete fails when the state topic has got the partitions that were missing. The group assigns
// what was left aside only to a new client.
func (c *client) complete() error {
	state, _ := c.limits.of(c.conf.stateTopic)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.aside) == 0 {
		return nil
	}
	for tp := range c.aside {
		if int(tp.partition) >= state.partitions {
			return nil
		}
	}
	return fmt.Errorf("state topic %q has got the partitions that were missing", c.conf.stateTopic)
}
