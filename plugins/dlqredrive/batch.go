package dlqredrive

import (
	"context"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/redrive"
)

// batch is a number of letters that the pipeline is given, and answers, together.
type batch struct {
	letters []*letter
	places  map[redrive.Place]*letter
	until   time.Time // what has to wait for longer is left for the next batch
	cut     bool      // the time was up
	claimed int64     // how many are to be written
}

func newBatch(letters []*letter, until time.Time) *batch {
	b := &batch{letters: letters, until: until, places: make(map[redrive.Place]*letter, len(letters))}
	for _, l := range letters {
		*l = letter{rec: l.rec, topicID: l.topicID, place: l.place, about: l.about}
		b.places[l.place] = l
	}
	return b
}

// committed tells, by the marks that a new client has read, whether the transaction of the batch
// was committed: all of its marks are there, or none.
func (b *batch) committed(c *client) bool {
	for _, l := range b.letters {
		if l.state == written {
			return c.marked(l)
		}
	}
	return false
}

// look returns the letter that a message is. The second result tells that it is not to be sent
// in this batch, or not at all, since the limit is reached. A message that is not in flight, since
// the stream has another input, is a letter by its metadata.
func (h *hub) look(msg *service.Message) (*letter, bool) {
	place := placeOf(msg)
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.find(place); l != nil {
		switch {
		case h.full():
			l.state = beyond
		case h.batch.cut:
			l.state = deferred
		default:
			return l, false
		}
		return l, true
	}
	return &letter{place: place, about: letters.Describe(func(name string) ([]byte, bool) {
		v, ok := msg.MetaGet(name)
		return []byte(v), ok
	}, place)}, false
}

// put notes what became of a letter that is not sent, and drops its message.
func (h *hub) put(l *letter, s state) (service.MessageBatch, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.state = s
	return nil, nil
}

// unfiltered notes why the filter failed.
func (h *hub) unfiltered(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed.note(err)
}

// undecoded notes why a letter could not be decoded.
func (h *hub) undecoded(l *letter, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.broken = true
	h.broken.note(err)
}

// claim reserves the letter's place in the batch, from which it is sent at the given time. It
// gives false where the limit is reached, or the batch would take too long.
func (h *hub) claim(l *letter, at time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.batch
	switch {
	case h.full():
		l.state = beyond
		return false
	case b == nil:
		h.run.Sent++ // there is nothing to commit
	case b.cut || b.claimed > 0 && at.After(b.until):
		l.state, b.cut = deferred, true
		return false
	default:
		b.claimed++
	}
	l.state = approved
	return true
}

// release gives the place back, and leaves the rest of the batch for another run.
func (h *hub) release(l *letter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.state = deferred
	if h.batch != nil {
		h.batch.claimed--
		h.batch.cut = true
	}
}

// hasTopic tells whether a topic exists, where there is somebody to ask.
func (h *hub) hasTopic(ctx context.Context, topic string) (bool, error) {
	h.mu.Lock()
	c := h.client
	h.mu.Unlock()
	if c == nil {
		return true, nil
	}
	return c.topics.exists(ctx, topic)
}
