//go:build synctests

package simulation

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// plan is what a seed decides: the world, and what happens in it.
type plan struct {
	seed            uint64
	brokers         int
	instances       int // at the start
	static          int // slots with an INSTANCE_ID
	oldTransactions bool
	failureRate     float64
	failureMode     string
	brokenRate      float64
	commitInterval  time.Duration
	ordered         bool // ordering: key
	moody           bool // the pipeline has an output that can reject, or answer nothing
	lateDLQ         bool
	away            *outage // of what orders are validated by; nil: none
	events          []event

	log io.Writer
}

// event is one thing that happens.
type event struct {
	at   time.Duration
	what string
	do   func(*world)
}

func (p *plan) String() string {
	var b strings.Builder
	protocol := "transactions v2"
	if p.oldTransactions {
		protocol = "transactions v1"
	}
	fmt.Fprintf(&b, "seed %d: %d brokers (%s), %d instances (static: the first %d slots), failure rate %.2f %s, undecodable %.2f, commit interval %v, ordered %v",
		p.seed, p.brokers, protocol, p.instances, p.static, p.failureRate, p.failureMode, p.brokenRate, p.commitInterval, p.ordered)
	for _, e := range p.events {
		fmt.Fprintf(&b, "\n  %7.3f s  %s", e.at.Seconds(), e.what)
	}
	return b.String()
}

// faulty is the span of time in which new faults begin.
const faulty = 25 * time.Second

// newPlan makes the plan of a seed.
func newPlan(seed uint64) *plan {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := &plan{
		seed: seed, log: io.Discard,
		brokers:         1 + rnd.IntN(3),
		instances:       1 + rnd.IntN(3),
		static:          rnd.IntN(4),
		oldTransactions: rnd.IntN(4) == 0,
		failureRate:     0.15 + 0.15*rnd.Float64(),
		failureMode:     "sticky",
		commitInterval:  time.Duration(100+rnd.IntN(500)) * time.Millisecond,
		moody:           rnd.IntN(2) == 0,
		lateDLQ:         rnd.IntN(10) == 0,
	}
	if rnd.IntN(5) == 0 {
		p.ordered = true
		p.failureRate /= 3 // one that fails for ever holds up its key for 7 s
	}
	if rnd.IntN(4) == 0 {
		p.failureMode = "transient"
	}
	if rnd.IntN(3) == 0 {
		p.brokenRate = 0.03
	}
	for range 3 + rnd.IntN(5) {
		n := 5 + rnd.IntN(40)
		p.add(time.Duration(rnd.Int64N(int64(faulty))), fmt.Sprintf("%d orders", n), func(w *world) { w.produce(n) })
	}
	p.add(0, "30 orders", func(w *world) { w.produce(30) })
	for range 2 + rnd.IntN(6) {
		p.fault(rnd)
	}
	if p.lateDLQ {
		p.add(time.Duration(rnd.Int64N(int64(faulty))), "the dead-letter topic is created", func(w *world) { w.createTopic(topicDLQ, nil) })
	}
	p.sort()
	return p
}

func (p *plan) sort() {
	slices.SortStableFunc(p.events, func(a, b event) int { return int(a.at - b.at) })
}

func (p *plan) add(at time.Duration, what string, do func(*world)) {
	p.events = append(p.events, event{at, what, do})
}
