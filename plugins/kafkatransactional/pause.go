package kafkatransactional

import (
	"context"
	"time"
)

// pollBriefly bounds how long a paused client looks for a new order before it goes on with those
// that wait. What was fetched already is there at once.
const pollBriefly = 100 * time.Millisecond

// pausing is a pause that a processor has asked for.
type pausing struct {
	on    bool
	until time.Time
	// waited tells that the last order that was handed out had waited, so that it is a new one's
	// turn: neither may keep the other from being tried.
	waited bool
}

// Pause implements session.Session.
func (c *client) Pause(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pausing.on, c.pausing.until = true, until
	c.signal()
}

// Resume implements session.Session.
func (c *client) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pausing = pausing{}
	c.signal()
}

// trickle is a round of the loop while the client is paused: it hands out one order if it is time
// and nothing is in flight, so that the other orders stay where they are, and cost no writes.
func (c *client) trickle(ctx context.Context, now, commitAt time.Time) (*batch, error) {
	c.mu.Lock()
	busy, until, waited := len(c.inFlight) > 0, c.pausing.until, c.pausing.waited
	c.mu.Unlock()
	if busy {
		return nil, c.pause(ctx, commitAt)
	}
	if err := c.adopt(ctx); err != nil {
		return nil, err
	}
	if now.Before(until) {
		return nil, c.pause(ctx, earlier(commitAt, until))
	}
	if waited {
		c.turn(false)
		if b, err := c.poll(ctx, now.Add(pollBriefly), 1); b != nil || err != nil {
			return b, err
		}
	}
	b, nextDue, err := c.handDue(ctx, time.Now(), 1)
	if b != nil || err != nil {
		c.turn(true)
		return b, err
	}
	return c.poll(ctx, earlier(commitAt, nextDue), 1)
}

func (c *client) turn(waited bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pausing.waited = waited
}
