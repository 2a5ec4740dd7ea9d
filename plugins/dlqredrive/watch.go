package dlqredrive

import (
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/redrive"
)

// maxSamples is how many letters are shown as they would be sent.
const maxSamples = 10

// Report is what a redrive has done so far: what is committed, not what is on its way.
type Report struct {
	redrive.Run
	// Passed is how many open letters were looked at. Total is how many there are: about, until
	// all were read, since transaction markers are taken for letters.
	Passed, Total int64
	// Unfiltered are letters on which `where` failed, so that they were not chosen. Undecoded are
	// those that `where` and `map` see as null.
	Unfiltered, Undecoded Trouble
	// Targets are the topics that orders may go to. To counts what was sent and parked, by topic,
	// and NotAllowed the letters that name another topic, by what they name; see maxNames.
	Targets    []string
	To         map[string]int64
	NotAllowed map[string]int64
}

// maxNames is how many topics are named that are no target: letters may hold any number. What
// names others is counted under the empty name.
const maxNames = 10

// countName counts a letter whose topic is no target.
func countName(counts map[string]int64, topic string) {
	if _, known := counts[topic]; !known && len(counts) >= maxNames {
		topic = ""
	}
	counts[topic]++
}

// Trouble is how many letters something failed on, and why it did on the first.
type Trouble struct {
	Letters int64  `json:"letters"`
	Error   string `json:"error,omitempty"`
}

// note keeps the first error. The letters are counted once their batch counts.
func (t *Trouble) note(err error) {
	if t.Error == "" {
		t.Error = err.Error()
	}
}

// Sample is a letter as it is and as it would be sent.
type Sample struct {
	ID     string `json:"dlq_id"`
	Place  string `json:"place"`
	Target string `json:"target"`
	Parked bool   `json:"parked,omitempty"`
	Before any    `json:"before"` // null where it cannot be decoded
	After  any    `json:"after"`  // the same as Before where nothing mends it
}

func newSample(l *letter, before, after *service.Message) *Sample {
	s := &Sample{ID: l.about.ID, Place: l.place.String(), Target: l.route.topic, Parked: l.route.parked}
	s.Before, _ = before.AsStructured() // null where it cannot be decoded
	s.After, _ = after.AsStructured()
	return s
}

// Watch shows what the redrives of an environment do. The zero value is ready, and it is safe
// for concurrent use.
type Watch struct {
	mu      sync.Mutex
	report  Report
	samples []Sample
	err     error
}

// Report returns what was done so far.
func (w *Watch) Report() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report
}

// Samples returns the first letters of a dry run.
func (w *Watch) Samples() []Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.samples
}

// Err returns why the redrive ended before it was done, or nil.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Watch) set(r Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report = r
}

func (w *Watch) sample(s *Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s != nil && len(w.samples) < maxSamples {
		w.samples = append(w.samples, *s)
	}
}

func (w *Watch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}
