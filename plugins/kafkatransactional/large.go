package kafkatransactional

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/deadletter"
)

// A large order waits by reference: neither the memory nor the state topic hold more of it than
// where it is. It is read from its topic again when it is due.

const (
	// largeOrder is from how many bytes on an order is large.
	largeOrder = 64 << 10
	// unknownSize is taken for the size of an order of which the state says only where it is.
	unknownSize = 1 << 20
	// dueBytes bounds a batch of orders that are due.
	dueBytes = 16 << 20
)

// recordBytes is what a record takes, beside the few hundred bytes that each does.
func recordBytes(rec *kgo.Record) int {
	n := len(rec.Key) + len(rec.Value)
	for _, h := range rec.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// keep makes w wait with what is needed of a record to hand it out again. A record that is not
// shared with others need not be copied.
func (w *waiting) keep(rec *kgo.Record, shared bool) *waiting {
	w.absent, w.whole = false, recordBytes(rec)
	switch {
	case w.whole >= largeOrder:
		rec, w.absent = refer(rec), true
	case shared:
		rec = compact(rec)
	}
	w.rec, w.size = rec, recordBytes(rec)
	return w
}

// refer keeps of a record where it is, and what tells which others it may not overtake.
func refer(rec *kgo.Record) *kgo.Record {
	ref := &kgo.Record{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Timestamp: rec.Timestamp, Key: slices.Clone(rec.Key)}
	for _, h := range rec.Headers {
		if h.Key == deadletter.HeaderID || h.Key == deadletter.HeaderRedrives {
			ref.Headers = append(ref.Headers, kgo.RecordHeader{Key: strings.Clone(h.Key), Value: slices.Clone(h.Value)})
		}
	}
	return ref
}

// wholeAgain reads those orders of b, which is in flight but not handed out yet, that wait by
// reference. It returns no batch if nothing is left of it.
func (c *client) wholeAgain(ctx context.Context, b *batch) (*batch, error) {
	wanted := map[topicPartition][]int64{}
	for i := range b.orders {
		if o := &b.orders[i]; o.absent {
			wanted[o.part.topicPartition] = append(wanted[o.part.topicPartition], o.rec.Offset)
		}
	}
	if len(wanted) == 0 {
		return b, nil
	}
	found, err := c.fetch(ctx, wanted)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		delete(c.inFlight, b)
		return nil, err
	}
	left := b.orders[:0]
	for _, o := range b.orders {
		if o.absent {
			rec := found[o.part.topicPartition][o.rec.Offset]
			if rec == nil {
				c.gone(o.part, o.rec)
				continue
			}
			o.rec, o.absent, o.shared = rec, false, true
		}
		left = append(left, o)
	}
	if b.orders = left; len(left) == 0 {
		delete(c.inFlight, b)
		return nil, nil
	}
	return b, nil
}

// gone ends an order that its topic has deleted while it waited. c.mu must be held.
func (c *client) gone(p *partition, rec *kgo.Record) {
	c.log.Errorf("Order %s/%d is gone: it was too large to be kept in the state, and its topic has deleted it while it waited", p.topicPartition, rec.Offset)
	p.end(rec.Offset)
	p.ledger.Dropped++
	p.ledgerDirty = true
	if name, ordered := p.queueOf(rec); ordered && p.queues[name] != nil { // there are none before a restore is done
		p.release(rec)
	}
}

// learn reads the large orders of restored partitions in which some may not overtake others: of a
// reference alone nobody can tell which.
func (c *client) learn(ctx context.Context, parts map[topicPartition]*partition) error {
	for tp, p := range parts {
		if p.ordering.by == orderingNone {
			continue
		}
		var absent []int64
		for offset, w := range p.waiting {
			if w.absent {
				absent = append(absent, offset)
			}
		}
		slices.Sort(absent)
		for some := range slices.Chunk(absent, dueBytes/unknownSize) {
			found, err := c.fetch(ctx, map[topicPartition][]int64{tp: some})
			if err != nil {
				return fmt.Errorf("restoring: %w", err)
			}
			for _, offset := range some {
				w := p.waiting[offset]
				if rec := found[tp][offset]; rec == nil {
					c.gone(p, w.rec)
				} else {
					p.bytes -= w.size
					w.keep(rec, true)
					p.bytes += w.size
				}
			}
		}
	}
	return nil
}

// fetch reads single records, of which those are missing that are not there any more.
func (c *client) fetch(ctx context.Context, wanted map[topicPartition][]int64) (map[topicPartition]map[int64]*kgo.Record, error) {
	found := map[topicPartition]map[int64]*kgo.Record{}
	topics := map[string][]int32{}
	for tp := range wanted {
		found[tp] = map[int64]*kgo.Record{}
		topics[tp.topic] = append(topics[tp.topic], tp.partition)
	}
	for topic, partitions := range topics {
		there, err := committed.Stable(ctx, c.adm, topic, partitions...)
		if err != nil {
			return nil, err
		}
		reader, err := committed.NewReader(append(c.conf.clientOpts(), kgo.FetchMaxBytes(dueBytes), kgo.FetchMaxPartitionBytes(1)), topic, nil)
		if err != nil {
			return nil, err
		}
		defer reader.Close()
		// One of each partition at a time.
		for i := 0; ; i++ {
			next := map[int32]committed.Range{}
			more := false
			for _, partition := range partitions {
				offsets := wanted[topicPartition{topic, partition}]
				if i >= len(offsets) {
					continue
				}
				more = true
				if at := offsets[i]; there[partition].From <= at && at < there[partition].To {
					next[partition] = committed.Range{From: at, To: at + 1}
				}
			}
			if !more {
				break
			}
			if err := reader.Seek(next); err != nil {
				return nil, err
			}
			for !reader.Done() {
				recs, err := reader.Poll(ctx, 0)
				if err != nil {
					return nil, err
				}
				for _, rec := range recs {
					if _, err := committed.Unreadable(rec); err != nil {
						continue
					}
					found[topicPartition{topic, rec.Partition}][rec.Offset] = rec
				}
			}
		}
	}
	return found, nil
}
