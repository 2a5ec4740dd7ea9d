package kafkatransactional

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/session"
)

// A batch of records that is too large without its compression is not read. Each of its orders is
// handed out without key and value, as one that has failed for good, so that it becomes a dead
// letter which names its place.

const (
	// mostUnread bounds how many orders of a batch are handed out so. Those beyond count as skipped:
	// a batch can hold a hundred million.
	mostUnread = 1000
)

// pass puts the orders of a batch that is too large into b, and makes the client go on behind it. It
// would read nothing more of that partition otherwise. c.mu must be held, and a transaction be open.
func (c *client) pass(b *batch, e *kgo.ErrDecompressTooLarge) {
	tp := topicPartition{e.Topic, e.Partition}
	p := c.parts[tp]
	if p == nil {
		return // it was taken away, and its records are for others to read
	}
	first := max(e.Offset, p.ledger.Next)
	last := min(e.NextOffset, first+mostUnread)
	text := fmt.Sprintf("the batch of offsets %d to %d has more than %s without its compression and was not read", e.Offset, e.NextOffset-1, humanize.IBytes(uint64(c.conf.maxBatchBytes)))
	c.met.unread.Incr(1)
	c.log.With("topic", e.Topic, "partition", e.Partition).Errorf("Not read, its orders become dead letters: %s", text)
	c.txn.used[tp] = p
	for offset := first; offset < last; offset++ {
		if _, waits := p.waiting[offset]; waits {
			continue
		}
		p.ledger.countReread(offset)
		b.polled++
		rec := &kgo.Record{Topic: e.Topic, Partition: e.Partition, Offset: offset, LeaderEpoch: e.Epoch}
		hist := session.History{Class: string(failure.Permanent), Code: deadletter.CodeUnread, Stage: pluginName, Text: text}
		if p.admit(rec) {
			b.orders = append(b.orders, order{Context: unsampled, batch: b, part: p, rec: rec, hist: hist})
		} else {
			p.waiting[offset].hist = hist
		}
	}
	p.ledger.advance(e.NextOffset)
	if last < e.NextOffset {
		p.ledger.Skipped = append(p.ledger.Skipped, Span{last, e.NextOffset})
	}
	p.ledgerDirty = true
	c.behind = append(c.behind, e)
}

// goBehind makes the client go on behind what it did not read, before the transaction ends. If that
// is aborted, this client will not come back to the batch: the restore sees that the state goes on
// before it, and a new client begins there. The client's locks must not be waited for with c.mu
// held, since the group's callbacks ask for it.
func (c *client) goBehind() {
	c.mu.Lock()
	behind := c.behind
	c.behind = nil
	c.mu.Unlock()
	for _, e := range behind {
		c.cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{e.Topic: {e.Partition: {Epoch: e.Epoch, Offset: e.NextOffset}}})
	}
}
