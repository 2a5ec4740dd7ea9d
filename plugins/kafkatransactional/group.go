package kafkatransactional

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/session"
)

var _ kgo.HookGroupManageError = (*client)(nil)

// find returns the order at p that is in flight.
func (c *client) find(p session.Place) (session.Order, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for b := range c.inFlight {
		for i := range b.orders {
			if o := &b.orders[i]; o.is(p) {
				return o, true
			}
		}
	}
	return nil, false
}

// onRevoked and onLost drop the state of partitions that others will own.
func (c *client) onRevoked(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
	c.drop(taken, true)
}

func (c *client) onLost(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
	c.drop(taken, false)
	c.mu.Lock()
	c.revoked = true // the session takes even a loss of nothing for one
	c.mu.Unlock()
}

func (c *client) drop(taken map[string][]int32, rejoins bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return // a leave takes all; what was counted is still to be shown
	}
	n := 0
	for topic, partitions := range taken {
		for _, partition := range partitions {
			delete(c.parts, topicPartition{topic, partition})
			delete(c.aside, topicPartition{topic, partition})
			delete(c.shelved, topicPartition{topic, partition})
			n++
		}
	}
	c.joining = time.Now()
	if n > 0 {
		c.epoch++
		c.revoked = true
		c.skipAssign = rejoins
		c.doom(errors.New("partitions were taken away"))
	}
	c.signal()
}

// OnGroupManageError is told why the group has lost this member or does not take it. It is asked
// again, after 5 s at most. A poll would tell it too; but nothing is polled while a join is under
// way, and to one that is refused for ever it always is.
func (c *client) OnGroupManageError(err error) {
	if isFenced(err) { // it would ask to join as the same member for ever
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lost = err
		c.signal()
		return
	}
	c.log.Errorf("Not a member of group %s, joining again: %v", c.conf.group, err)
}

// onAssigned is called after every join, whether or not it brought partitions.
func (c *client) onAssigned(context.Context, *kgo.Client, map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skipAssign {
		c.skipAssign = false
		return
	}
	c.joining = time.Time{}
	c.signal()
}

// Epoch changes when the state in memory was replaced.
func (c *client) Epoch() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// Accumulators visits what was accumulated in the partitions that are owned.
func (c *client) Accumulators(name string, fresh func() session.Accumulator, fn func(string, session.Accumulator)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		for _, key := range slices.Collect(maps.Keys(p.acc)) {
			if key.name != name {
				continue
			}
			a, err := p.accumulatorFor(key.name, key.group, fresh)
			if err != nil {
				c.doom(err)
				continue
			}
			fn(key.group, a.value)
		}
	}
}
