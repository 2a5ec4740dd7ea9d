package kafkatransactional

import (
	"bytes"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A log that was cut gives offsets a second time. The state has room for one order at an offset:
// if one waits there that was read before the cut, its partition is not read on until that has its
// outcome. It lives in the state only.

// is tells whether rec is the order that waits. One that is only referred to is taken for it.
func (w *waiting) is(rec *kgo.Record) bool {
	return w.absent || w.rec.Timestamp.UnixMilli() == rec.Timestamp.UnixMilli() && bytes.Equal(w.rec.Key, rec.Key) && bytes.Equal(w.rec.Value, rec.Value)
}

// stall stops reading a partition because another order waits at the offset of rec. The abort that
// follows takes back what was polled. c.mu must be held, and a transaction be open.
func (c *client) stall(p *partition, rec *kgo.Record) {
	c.stalled[p.topicPartition] = rec.Offset
	c.cl.PauseFetchPartitions(map[string][]int32{p.topic: {p.partition}})
	c.doom(fmt.Errorf("the log of %s was cut: another order than that at offset %d waits in the state, and has to end first", p.topicPartition, rec.Offset))
}

// readOn reads partitions again that were stalled, once the state has forgotten the former order.
// A key that is blocked would hold it for ever, since the order that mends it is not read: such
// a key is given up. c.mu must be held.
func (c *client) readOn() {
	for tp, offset := range c.stalled {
		p := c.parts[tp]
		if p != nil {
			if w := p.waiting[offset]; w != nil {
				c.freeKey(p, w)
				continue
			}
			if _, unwritten := p.written[offset]; unwritten {
				continue
			}
		}
		delete(c.stalled, tp)
		c.cl.ResumeFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
	}
}

// freeKey lets the orders of the key of w go on if it is blocked.
func (c *client) freeKey(p *partition, w *waiting) {
	name, ordered := p.queueOf(w.rec)
	b, blocked := p.blocks[name]
	if !ordered || !blocked || p.queues[name].busy {
		return
	}
	c.met.givenUp.Incr(1)
	c.log.With("key", name, "dlq_id", b.ID).Errorf("A blocked key is given up, since the order at %s/%d waits behind it and the log was cut: its later orders go on before the dead one was mended", p.topicPartition, w.rec.Offset)
	p.unblock(name)
	p.advance(name)
}
