package kafkatransactional

import (
	"sync"
	"time"
)

const (
	// firstOrders is how many orders are handed out before it is known how fast the pipeline is.
	firstOrders = 8
	// stuckAfter is how many aborts in a row, without a commit, are no accident any more.
	stuckAfter = 3
)

// pace bounds how many orders are in the pipeline at once, by how fast it was seen to be: so many
// that it answers all of them in a small part of the time that a transaction may last. Without
// that bound a slow step under a backlog would never commit: the broker ends a transaction that
// takes too long, and all of it is done again. It outlives the clients of an input.
type pace struct {
	short, long time.Duration // a full pipeline that is done within short lets the bound grow, one that takes more than long shrinks it
	most        int           // orders, however fast the pipeline is

	mu      sync.Mutex
	limit   int
	changed time.Time     // when the limit was
	before  time.Duration // what a full pipeline took with half the limit
	aborts  int           // since the last commit
}

// newPace makes the pace of transactions that may last for timeout, of which commitInterval is
// spent on handing out.
func newPace(timeout, commitInterval time.Duration, most int) *pace {
	left := timeout - commitInterval
	return &pace{short: left / 8, long: left / 2, before: left / 5, most: most, limit: min(firstOrders, most)}
}

// bound is how many orders may be in the pipeline at once.
func (p *pace) bound() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit
}

// answered takes the answer to a batch, with which so many orders were in the pipeline. The batch is
// full if it was as large as it could be: any other says nothing of how much more would fit.
func (p *pace) answered(handed, now time.Time, orders int, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := now.Sub(handed)
	share := float64(orders) / float64(p.limit)
	most := time.Duration(float64(took) / share) // what a full pipeline takes, if it works on one order at a time
	switch {
	case handed.Before(p.changed): // it met another limit
	case took > p.long:
		p.set(now, int(float64(p.limit)*float64(p.short)/float64(took)), 0)
	case full && most <= p.short:
		p.set(now, 2*p.limit, most)
	// Twice as many take twice as long where each order takes its time, and no longer where each
	// batch does, or where many are worked on at a time.
	case full && share > 0.8 && took < p.before*5/4:
		p.set(now, 2*p.limit, took)
	}
}

func (p *pace) set(now time.Time, limit int, before time.Duration) {
	p.limit, p.before, p.changed = max(1, min(limit, p.most)), before, now
}

// timedOut takes it that a transaction has lasted too long.
func (p *pace) timedOut(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(now, p.limit/8, 0)
}

// ended takes the end of a transaction, and returns how many were aborted since the last commit.
func (p *pace) ended(committed bool) (aborts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if committed {
		p.aborts = 0
	} else {
		p.aborts++
	}
	return p.aborts
}

// stuck tells that nothing gets through: one transaction after the other is aborted.
func (p *pace) stuck() (aborts int, yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.aborts, p.aborts >= stuckAfter
}
