package kafkatransactional

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/shown"
)

// block is why the orders of a key do not go on: an earlier one of it is a dead letter. The key
// is free again when that order comes a second time, redriven, and ends well.
type block struct {
	ID string `json:"dlq_id"` // of the dead letter
	// Origin is where the order was, if its dead letter claims another id. Who redrives it believes
	// the claim only if it is true, and else sends it by this name.
	Origin string    `json:"origin,omitempty"`
	Since  time.Time `json:"since"`
}

// identity returns the dlq_id that a dead letter of rec has, where rec is, and whether it says that
// it was redriven. Its producer can write the same headers, so that they decide no more than which
// of its own orders a key waits for.
func identity(rec *kgo.Record) (id, origin string, redriven bool) {
	l := deadletter.Letter{Topic: rec.Topic, Partition: int(rec.Partition), Offset: rec.Offset}
	l.Identify(func(name string) (string, bool) {
		for _, h := range slices.Backward(rec.Headers) {
			if h.Key == name {
				return string(h.Value), h.Value != nil
			}
		}
		return "", false
	})
	return l.ID, l.Origin(), l.Redrives > 0
}

// passes tells whether an order may go although its key is blocked, which it may if it is the
// one that the key waits for.
func (p *partition) passes(name string, rec *kgo.Record) bool {
	b, blocked := p.blocks[name]
	if !blocked {
		return true
	}
	id, _, redriven := identity(rec)
	return redriven && (id == b.ID || id == b.Origin)
}

// block holds the key of an order that has ended as a dead letter.
func (p *partition) block(rec *kgo.Record, now time.Time) {
	name, ordered := p.queueOf(rec)
	if !ordered {
		return
	}
	id, origin, _ := identity(rec)
	if p.blocks[name].ID != id { // one that has died again blocks as it did
		b := block{ID: id, Since: now.UTC()}
		if origin != id {
			b.Origin = origin
		}
		p.blocks[name] = b
		p.rewrite[name] = struct{}{}
	}
	p.queues[name].busy = false
	p.advance(name)
}

func (p *partition) unblock(name string) {
	if _, blocked := p.blocks[name]; blocked {
		delete(p.blocks, name)
		p.rewrite[name] = struct{}{}
	}
}

// blockChanges calls put with the records of the keys that were blocked or released.
func (p *partition) blockChanges(put func(key, value []byte)) error {
	for name := range p.rewrite {
		var value []byte
		if b, blocked := p.blocks[name]; blocked {
			var err error
			if value, err = json.Marshal(b); err != nil {
				return fmt.Errorf("encoding block of a key of %s: %w", p.topicPartition, err)
			}
		}
		put(StateKey{Kind: KindBlocked, Topic: p.topic, Partition: p.partition, Key: name}.append(nil), value)
	}
	clear(p.rewrite)
	return nil
}

func (p *partition) restoreBlock(name string, value []byte) error {
	if value == nil {
		delete(p.blocks, name)
		return nil
	}
	var b block
	if err := json.Unmarshal(value, &b); err != nil {
		return fmt.Errorf("decoding block of key %q of %s: %w", name, p.topicPartition, err)
	}
	p.blocks[name] = b
	return nil
}

// blockedKey is a blocked key and what it takes: a place for itself and one for each order that
// is held, or more if those are so large that they take a larger share of the memory.
type blockedKey struct {
	block
	part *partition
	name string
	held int
	size int
}

// giveUp releases blocked keys until all of them together take no more than most places. Those
// that take the most go first, since they are the fewest; among equals, those blocked longest.
// A key whose order was mended and is on its way is left alone.
func giveUp(parts map[topicPartition]*partition, most int, bytesOfPlace float64) []blockedKey {
	total := 0
	var keys []blockedKey
	for _, p := range parts {
		for name, b := range p.blocks {
			k := blockedKey{block: b, part: p, name: name, size: 1}
			q := p.queues[name]
			if q != nil {
				bytes := 0
				for _, w := range q.behind {
					bytes += w.size
				}
				k.held = len(q.behind)
				k.size += max(k.held, int(float64(bytes)/bytesOfPlace))
			}
			total += k.size
			if q == nil || !q.busy {
				keys = append(keys, k)
			}
		}
	}
	if total <= most {
		return nil
	}
	slices.SortFunc(keys, func(a, b blockedKey) int {
		return cmp.Or(b.size-a.size, a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	for i, k := range keys {
		if total <= most {
			return keys[:i]
		}
		total -= k.size
		k.part.unblock(k.name)
		if k.part.queues[k.name] != nil {
			k.part.advance(k.name)
		}
	}
	return keys
}

// makeRoom gives up blocked keys when they take half of what may wait, and tells whether it did.
// Without that the orders they hold would in the end leave no room to read on, and the mended
// ones, which are behind, would never be read. c.mu must be held.
func (c *client) makeRoom() bool {
	blocked := 0
	for _, p := range c.parts {
		blocked += len(p.blocks)
	}
	most := c.conf.maxWaiting / 2
	bytesOfPlace := float64(c.conf.maxWaitingBytes) / float64(c.conf.maxWaiting)
	if blocked == 0 || blocked+max(c.waitingLocked(), int(float64(c.waitingBytes())/bytesOfPlace)) <= most {
		return false // the usual case, told without looking at each key
	}
	keys := giveUp(c.parts, most, bytesOfPlace)
	if len(keys) == 0 {
		return false
	}
	c.met.givenUp.Incr(int64(len(keys)))
	held := 0
	for _, k := range keys {
		held += k.held
	}
	c.log.With("keys", len(keys), "orders", held, "key", shown.Text(keys[0].name), "dlq_id", shown.Text(keys[0].ID)).
		Errorf("Blocked keys take half of max_waiting (%d): some are given up, their later orders go on before the dead one was mended", c.conf.maxWaiting)
	return true
}
