package kafkatransactional

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// adopt restores partitions that are owned but have no state here. That is so when they were
// assigned while an abort threw all state away.
func (c *client) adopt(ctx context.Context) error {
	c.mu.Lock()
	idle := c.txn == nil && c.joining.IsZero()
	n := len(c.parts)
	c.mu.Unlock()
	if !idle {
		return nil
	}
	owned := 0
	for _, partitions := range c.cl.CommittedOffsets() {
		owned += len(partitions)
	}
	if owned <= n {
		return nil
	}
	return c.restoreOwned(ctx)
}

// abort gives the transaction up, forgets all state, and reads it again as it was committed.
func (c *client) abort(ctx context.Context) error {
	if err := c.barrier(ctx, true); err != nil {
		return err
	}
	c.mu.Lock()
	reason, open := c.txn.doomed, !c.txn.began.IsZero()
	refused := c.txn.refused
	c.parts = map[topicPartition]*partition{}
	c.epoch++
	c.aborts++
	aborts := c.aborts
	c.mu.Unlock()
	c.conf.faults.note(reason)
	c.met.aborted.Incr(1)
	c.log.With("reason", reason.Error()).Warn("Transaction aborted: going on from what was committed last")

	endCtx, cancel := c.endContext(ctx)
	defer cancel()
	if open {
		c.writing.Lock()
		_, err := c.group.End(endCtx, kgo.TryAbort)
		c.writing.Unlock()
		if err != nil {
			return fmt.Errorf("aborting transaction: %w", err)
		}
	}
	c.mu.Lock()
	c.txn, c.revoked = nil, false
	c.mu.Unlock()
	if refused {
		// What the broker refused is better known by a client that has looked again.
		return fmt.Errorf("producing: %w", reason)
	}
	if aborts > 1 {
		wait := min(100*time.Millisecond<<min(aborts, 10), 10*time.Second)
		if err := c.pauseFull(ctx, wait); err != nil {
			return err
		}
	}
	if _, _, err := c.cl.ProducerID(endCtx); err != nil {
		return fmt.Errorf("renewing producer id: %w", err)
	}
	return c.restoreOwned(ctx)
}

func (c *client) pauseFull(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// clearRevocation tells the group session that no transaction was open when partitions were
// taken away, or it would abort the next one. It sends nothing.
func (c *client) clearRevocation(ctx context.Context) error {
	c.writing.Lock()
	_, err := c.group.End(ctx, kgo.TryAbort)
	c.writing.Unlock()
	if err != nil {
		return fmt.Errorf("clearing revocation: %w", err)
	}
	c.mu.Lock()
	c.revoked = false
	c.mu.Unlock()
	return nil
}
