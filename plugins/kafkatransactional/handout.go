package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// handDue hands out what takeDue finds, with the large orders read again.
func (c *client) handDue(ctx context.Context, now time.Time, most int) (*batch, time.Time, error) {
	b, next, err := c.takeDue(now, most)
	if b != nil && err == nil {
		b, err = c.wholeAgain(ctx, b)
	}
	return b, next, err
}

// takeDue puts into a batch up to most waiting orders whose time has come, of partitions that are owned,
// and tells when the next one is due.
func (c *client) takeDue(now time.Time, most int) (*batch, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var next time.Time
	var due []*partition
	for _, p := range c.parts {
		if at, ok := p.nextDue(); ok {
			if next = earlier(next, at); !at.After(now) {
				due = append(due, p)
			}
		}
	}
	if len(due) == 0 {
		return nil, next, nil
	}
	// A partition that is being taken away, or that the client does not list yet although it was
	// restored, must neither hand out its orders nor make the loop spin because they are overdue.
	owned := c.cl.CommittedOffsets()
	next = time.Time{}
	for _, p := range c.parts {
		at, ok := p.nextDue()
		if _, listed := owned[p.topic][p.partition]; !listed {
			due = slices.DeleteFunc(due, func(d *partition) bool { return d == p })
			if soon := now.Add(listPatience); at.Before(soon) {
				at = soon
			}
		}
		if ok && at.After(now) {
			next = earlier(next, at)
		}
	}
	b := &batch{client: c}
	for _, p := range due {
		for len(b.orders) < most && b.bytes < dueBytes {
			w := p.take(now)
			if w == nil {
				break
			}
			b.bytes += w.whole
			b.orders = append(b.orders, order{Context: unsampled, batch: b, part: p, rec: w.rec, absent: w.absent, hist: w.hist, refused: w.refused})
		}
	}
	if len(b.orders) == 0 {
		return nil, next, nil
	}
	b.full = len(b.orders) == most
	return b, next, c.hand(b)
}

// hand makes b part of the transaction. c.mu must be held.
func (c *client) hand(b *batch) error {
	t, err := c.begin()
	if err != nil {
		return err
	}
	b.txn = t
	for i := range b.orders {
		if p := b.orders[i].part; p != nil {
			t.used[p.topicPartition] = p
		}
	}
	c.inFlight[b] = struct{}{}
	t.orders += len(b.orders)
	b.handed, b.ahead = time.Now(), c.ordersInFlight()
	return nil
}

// poll hands out up to most new records. It returns nothing when until has passed or it was woken.
func (c *client) poll(ctx context.Context, until time.Time, most int) (*batch, error) {
	c.mu.Lock()
	c.readOn()
	if c.makeRoom() {
		c.mu.Unlock()
		return nil, nil // what was held is due
	}
	room := c.conf.maxWaiting - c.waitingLocked() - c.inFlightLocked()
	if room <= 0 || c.takenBytes() >= c.conf.maxWaitingBytes {
		c.met.paused.Set(1)
		c.mu.Unlock()
		return nil, c.pause(ctx, until)
	}
	c.met.paused.Set(0)
	if again := c.fetchAgain; time.Now().Before(again) {
		c.mu.Unlock()
		return nil, c.pause(ctx, earlier(until, again))
	}
	if until.IsZero() {
		until = time.Now().Add(c.lookAge())
	}
	pollCtx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	c.cancelPoll = cancel
	select {
	case <-c.wake: // what was signalled before there was a poll to cancel
		cancel()
	default:
	}
	c.mu.Unlock()

	fetches := c.group.PollRecords(pollCtx, min(room, most))

	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancelPoll = nil
	if fetches.IsClientClosed() {
		return nil, service.ErrNotConnected
	}
	var gone error
	var unread []*kgo.ErrDecompressTooLarge
	failed := false
	fetches.EachError(func(topic string, partition int32, err error) {
		_, told := errors.AsType[*kgo.ErrGroupSession](err) // see OnGroupManageError
		_, cut := errors.AsType[*kgo.ErrDataLoss](err)
		tooLarge, large := errors.AsType[*kgo.ErrDecompressTooLarge](err)
		switch {
		case large:
			unread = append(unread, tooLarge)
		case told || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		case errors.Is(err, kerr.UnknownTopicID): // this client will never read it again
			gone = fmt.Errorf("topic %s was deleted, and may have been made again: %w", topic, err)
		case errors.Is(err, kerr.OffsetOutOfRange) || cut: // retention was faster, or the log was cut
			gone = fmt.Errorf("reading %s/%d: %w", topic, partition, err)
		default:
			failed = true
			if time.Since(c.fetchLogged) > time.Second {
				c.fetchLogged = time.Now()
				c.log.With("topic", topic, "partition", partition).Warnf("Fetching: %v", err)
			}
		}
	})
	n := fetches.NumRecords()
	if failed && n == 0 { // one that persists, such as a missing right, comes back at once
		c.fetchAgain = time.Now().Add(fetchPause)
	}
	if n == 0 && len(unread) == 0 || gone != nil {
		return nil, gone
	}
	b := &batch{client: c, full: n == most, orders: make([]order, 0, n)}
	var stray []topicPartition
	var reused []order
	fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
		tp := topicPartition{ftp.Topic, ftp.Partition}
		p := c.parts[tp]
		if p == nil {
			stray = append(stray, tp)
			return
		}
		for _, rec := range ftp.Records {
			if rec.Attrs.IsControl() {
				continue // the end of somebody's transaction
			}
			b.polled++
			b.bytes += recordBytes(rec)
			// After a reset of the group's offsets an order may be read again that still waits.
			// Its outcome will come from there.
			if w, ok := p.waiting[rec.Offset]; ok {
				if !w.is(rec) {
					reused = append(reused, order{part: p, rec: rec})
				}
				continue
			}
			p.ledger.countReread(rec.Offset)
			if !p.admit(rec) {
				continue
			}
			b.orders = append(b.orders, order{Context: unsampled, batch: b, part: p, rec: rec, shared: true})
		}
	})
	t, err := c.begin()
	if err != nil {
		return nil, err
	}
	// Orders that are held have to be in the state when the offsets pass them, and so has the
	// position, though it should have passed nothing but what was aborted.
	fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
		tp := topicPartition{ftp.Topic, ftp.Partition}
		if p := c.parts[tp]; p != nil && len(ftp.Records) > 0 {
			t.used[tp] = p
			c.passed(p, ftp.Records)
		}
	})
	for _, e := range unread {
		c.pass(b, e)
	}
	// Records of a partition that was taken away meanwhile were polled, so that their offsets
	// would be committed: this transaction must not commit.
	for _, tp := range stray {
		t.used[tp] = nil
	}
	for _, o := range reused {
		c.stall(o.part, o.rec)
	}
	if len(b.orders) == 0 || len(reused) > 0 {
		return nil, nil
	}
	return b, c.hand(b)
}

func (c *client) waitingLocked() int {
	n := 0
	for _, p := range c.parts {
		n += len(p.waiting)
	}
	return n
}

// waitingBytes is what the orders that wait take. c.mu must be held.
func (c *client) waitingBytes() int {
	n := 0
	for _, p := range c.parts {
		n += p.bytes
	}
	return n
}

// takenBytes is what those take that wait or are in the pipeline. c.mu must be held.
func (c *client) takenBytes() int {
	n := c.waitingBytes()
	for b := range c.inFlight {
		n += b.bytes
	}
	return n
}

func (c *client) inFlightLocked() int {
	n := 0
	for b := range c.inFlight {
		n += b.polled
	}
	return n
}
