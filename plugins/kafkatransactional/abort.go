package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/shown"
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
	reason, open := c.overdue(c.txn.doomed), !c.txn.began.IsZero()
	refused := c.txn.refused
	c.parts = map[topicPartition]*partition{}
	c.epoch++
	c.aborts++
	aborts := c.aborts
	c.mu.Unlock()
	c.conf.faults.note(reason)
	c.ended(false)
	c.log.With("reason", shown.Text(reason.Error())).Warn("Transaction aborted: going on from what was committed last")

	endCtx, cancel := c.endContext(ctx)
	defer cancel()
	if open {
		c.writing.Lock()
		_, err := c.group.End(endCtx, kgo.TryAbort)
		c.writing.Unlock()
		if _, slow := errors.AsType[*tooSlow](reason); slow && err != nil {
			return fmt.Errorf("aborting transaction: %w: %w", reason, err) // the broker has ended it, and says that we are fenced
		}
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
		if err := pauseUntil(ctx, time.Now().Add(wait)); err != nil {
			return err
		}
	}
	if _, _, err := c.cl.ProducerID(endCtx); err != nil {
		return fmt.Errorf("renewing producer id: %w", err)
	}
	return c.restoreOwned(ctx)
}

// settle ends the open transaction. If it is aborted, the reason tells why.
func (c *client) settle(ctx context.Context) (reason, err error) {
	c.mu.Lock()
	t, lost := c.txn, c.lost
	c.mu.Unlock()
	switch {
	case lost != nil:
		return nil, lost
	case t == nil:
		return nil, nil
	case t.doomed == nil:
		if err := c.commit(ctx); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	if t = c.txn; t != nil {
		reason = t.doomed
	}
	c.mu.Unlock()
	if t == nil {
		return nil, nil
	}
	return reason, c.abort(ctx)
}

// busy tells whether orders are in the pipeline.
func (c *client) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.inFlight) > 0
}

// pauseUntil waits until the time is up or ctx ends.
func pauseUntil(ctx context.Context, until time.Time) error {
	t := time.NewTimer(time.Until(until))
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
