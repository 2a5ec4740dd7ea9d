package kafkatransactional

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Span is a stretch of a partition: the offset of its first record, and the one behind its last.
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// unknownOffset is the position of a partition of which nothing was read yet.
const unknownOffset = -1

// moveTo notes that somebody else has set the group's offset. Backwards, orders are read again;
// forwards, some are never read.
func (l *Ledger) moveTo(at int64) {
	switch {
	case at < l.Next:
		l.RereadTo = max(l.RereadTo, l.Next)
		if at < l.Start { // what lies before the start was never read
			l.Skipped = append(l.Skipped, Span{at, l.Start})
			l.Start = at
		}
	case at > max(l.Next, l.RereadTo):
		l.Skipped = append(l.Skipped, Span{max(l.Next, l.RereadTo), at})
	}
	l.Next = at
}

// countReread counts the order at offset, which is about to be read, if it was read before.
func (l *Ledger) countReread(offset int64) {
	if offset < l.RereadTo && !slices.ContainsFunc(l.Skipped, func(s Span) bool { return s.From <= offset && offset < s.To }) {
		l.Reread++
	}
}

// lose notes that the log begins at start now, behind the position. It returns the stretch that
// was deleted before it was read, if there is one. Not each of its offsets need have been an order:
// the markers of transactions take some, and so does compaction.
func (l *Ledger) lose(start int64) (lost Span) {
	if unread := max(l.Next, l.RereadTo); start > unread {
		lost = Span{unread, start}
	}
	l.advance(start)
	return lost
}

// advance notes that all was read up to next.
func (l *Ledger) advance(next int64) {
	var left []Span
	for _, s := range l.Skipped { // what was read now is skipped no longer
		for _, part := range []Span{{s.From, min(s.To, l.Next)}, {max(s.From, next), s.To}} {
			if part.From < part.To {
				left = append(left, part)
			}
		}
	}
	l.Skipped = left
	l.Next = next
	if l.RereadTo <= next {
		l.RereadTo = 0
	}
}

// passed moves p behind the records that were polled of it. c.mu must be held.
func (c *client) passed(p *partition, recs []*kgo.Record) {
	p.ledgerDirty = true
	p.ledger.advance(recs[len(recs)-1].Offset + 1)
}

// goOn decides where to go on in a log that reaches from log.From to log.To. It is where the group
// says, which is at. If the group has forgotten it, at is but where a new group would begin, and
// the state says it. So it does if at is behind the end of the log; and if the state is as well,
// the log was cut: all that is there has been read.
func (l *Ledger) goOn(at int64, forgotten bool, log Span) int64 {
	known := l.Next != unknownOffset
	if forgotten && known {
		at = l.Next
	}
	if at > log.To {
		at = log.To
		if known {
			at = min(at, l.Next)
		}
	}
	return max(at, log.From)
}

// resume makes the restored state, the group's committed offset and what there is of the log agree
// on where to go on. State and offset are committed together: where they differ, the offset was
// reset, or forgotten. It tells whether one of them was moved. c.mu must be held.
func (c *client) resume(p *partition, at int64, forgotten bool, log extent) bool {
	l := &p.ledger
	if at == l.Next && log.cut >= 0 { // nobody else has committed it, perhaps with any epoch
		log.To = max(log.From, log.cut)
	}
	deleted := l.Next != unknownOffset && l.Next < log.From
	if deleted {
		if lost := l.lose(log.From); lost != (Span{}) {
			c.log.Errorf("Lost to retention: %s deleted offsets %d to %d before they were read, %d records at most", p.topicPartition, lost.From, lost.To-1, lost.To-lost.From)
		}
	}
	from, to := l.Next, l.goOn(at, forgotten, log.Span)
	switch {
	case from == to && at == to && !deleted:
		return false
	case from == to && at <= log.From && !forgotten: // what lies between was deleted
	case from == unknownOffset:
		l.Next = to
	case from > log.To && to == log.To:
		c.log.Errorf("The log of %s was cut at %d, as an unclean leader election does, after it had been read up to %d: going on at %d, where all orders are new", p.topicPartition, log.To, from, to)
		l.moveTo(to)
	case at > log.To:
		c.log.Warnf("The offset of %s was reset to %d, behind the end of its log at %d: going on at %d, as its state says", p.topicPartition, at, log.To, to)
	case forgotten:
		c.log.Warnf("The group has no committed offset of %s: going on at %d, as its state says", p.topicPartition, to)
	case to < from:
		c.log.Warnf("The offset of %s was reset from %d to %d: orders between are processed and counted again", p.topicPartition, from, to)
		l.moveTo(to)
	default:
		c.log.Warnf("The offset of %s was reset from %d to %d: orders between are skipped; those that wait already are not", p.topicPartition, from, to)
		l.moveTo(to)
	}
	p.ledgerDirty = true
	c.fresh = true
	return true
}

// identify checks that the restored state is of the topic that has this id, and not of one of the
// same name that was deleted: its offsets name other records.
func (p *partition) identify(id, stateTopic string) error {
	switch {
	case id == "" || p.ledger.TopicID == id:
	case p.ledger.TopicID == "":
		p.ledger.TopicID, p.ledgerDirty = id, true
	default:
		return fmt.Errorf("topic %q was deleted and made again: what %q holds of %s, %d waiting orders among it, belongs to the former one; give the new topic another state_topic and consumer_group",
			p.topic, stateTopic, p.topicPartition, len(p.waiting))
	}
	return nil
}
