package dlqredrive

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/orderflow/orderflow/internal/redrive"
)

// hub is where a stream's input, processor and output meet. The processor and the output add
// what they were told before the input connects.
type hub struct {
	watch    *Watch
	sampling bool // letters are shown as they would be sent

	mu     sync.Mutex
	parts  int // processor and output
	plan   plan
	run    redrive.Run // what was asked for; the counts are those of what was committed
	limit  int64       // 0: none
	failed Trouble     // of the filter
	broken Trouble     // of decoding
	to     map[string]int64
	strays map[string]int64 // letters that name a topic that is no target
	client *client          // of the input, while it is connected
	batch  *batch           // in flight, if any
	passed int64            // open letters that were looked at
	total  int64            // how many there are, about

	// halted ends when the stream is to stop, so that nobody goes on waiting.
	halted context.Context
	halt   context.CancelFunc
}

func newHub(w *Watch) *hub {
	h := &hub{watch: w, plan: plan{maxRedrives: 3}, to: map[string]int64{}, strays: map[string]int64{}}
	h.halted, h.halt = context.WithCancel(context.Background())
	return h
}

// add notes that the processor or the output is there.
func (h *hub) add(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parts++
	fn()
}

// complete tells whether all three parts are there.
func (h *hub) complete() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.parts >= 2
}

// find returns the letter at p if it is in flight. h.mu must be held.
func (h *hub) find(p redrive.Place) *letter {
	if h.batch == nil {
		return nil
	}
	return h.batch.places[p]
}

// claimed tells how many letters were written, or are to be. h.mu must be held.
func (h *hub) claimed() int64 {
	n := h.run.Sent + h.run.Parked
	if h.batch != nil {
		n += h.batch.claimed
	}
	return n
}

// full tells whether the limit is reached. h.mu must be held.
func (h *hub) full() bool { return h.limit > 0 && h.claimed() >= h.limit }

// counted returns the counts with those of the batch in flight. h.mu must be held.
func (h *hub) counted() redrive.Counts {
	c := h.run.Counts
	c.Refused = maps.Clone(c.Refused)
	if h.batch == nil {
		return c
	}
	for _, l := range h.batch.letters {
		switch l.state {
		case deferred:
			continue
		case refused:
			if c.Refused == nil {
				c.Refused = map[string]int64{}
			}
			c.Refused[l.route.reason]++
		case written:
			if l.route.parked {
				c.Parked++
			} else {
				c.Sent++
			}
		}
		if l.state != written {
			c.LeftOpen++
		}
		if l.state >= refused {
			c.Matched++
		}
	}
	return c
}

// settle takes the batch in flight out, as one that counts. It returns the letters that are to
// be handed out again.
func (h *hub) settle() []*letter {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.batch
	h.run.Counts = h.counted()
	h.batch = nil
	var again []*letter
	for _, l := range b.letters {
		if l.state == deferred {
			again = append(again, l)
		}
		switch {
		case l.state == unfiltered:
			h.failed.Letters++
		case l.state == written:
			h.to[l.route.topic]++
		case l.state == refused && l.route.reason == reasonNotAllowed:
			countName(h.strays, l.route.topic)
		}
		if l.broken && l.state != deferred {
			h.broken.Letters++
		}
		h.watch.sample(l.sample)
	}
	h.watch.set(h.report())
	return again
}

// drop takes the batch in flight out, as one that never was.
func (h *hub) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batch = nil
}

// begin puts a batch in flight.
func (h *hub) begin(b *batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batch = b
}

// refuse notes that a letter that was written is one that its topic does not take.
func (h *hub) refuse(l *letter, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.state, l.route.reason, l.route.err = refused, reasonTopic, err
}

// leave counts letters that are open and that nobody looks at any more.
func (h *hub) leave(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run.LeftOpen += n
}

// progress notes how many of the open letters were looked at.
func (h *hub) progress(passed, total int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passed, h.total = passed, total
	h.watch.set(h.report())
}

// isFull tells whether the limit is reached by what was committed.
func (h *hub) isFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.full()
}

// connected notes which client takes what is written.
func (h *hub) connected(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.client = c
}

func (h *hub) parking() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.plan.parking
}

func (h *hub) snapshot() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.report()
}

// record is the run with the batch in flight, as it will be once that is committed.
func (h *hub) record(ended time.Time) redrive.Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run.Ended = ended
	h.watch.set(h.report())
	r := h.run
	r.Counts = h.counted()
	return r
}

// report is what is shown of the run. h.mu must be held.
func (h *hub) report() Report {
	r := Report{Run: h.run, Total: h.total, Passed: h.passed, Unfiltered: h.failed, Undecoded: h.broken, Targets: h.plan.targets}
	if h.plan.target != "" {
		r.Targets = []string{h.plan.target}
	}
	r.Refused, r.To, r.NotAllowed = maps.Clone(r.Refused), maps.Clone(h.to), maps.Clone(h.strays)
	return r
}
