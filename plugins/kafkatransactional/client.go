package kafkatransactional

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// leaveTimeout bounds what a stop waits for the group: a join in flight would hold it up.
	leaveTimeout = 2 * time.Second
	// endTimeout bounds the end of a transaction. With a dead broker it took 31 s at most.
	endTimeout = 40 * time.Second
	// stopTimeout bounds each step of a stop.
	stopTimeout = 5 * time.Second
	// limitsAge is how old the knowledge of topics may get.
	limitsAge = time.Minute
	// joinPatience bounds how long no transaction is begun because a join seems to be under
	// way. Beginning one too early costs an abort, waiting for ever would cost everything.
	joinPatience = 15 * time.Second
	// fetchPause is how long nothing is polled after a fetch that failed.
	fetchPause = 200 * time.Millisecond
	// listPatience is after what time it is looked again whether a partition is listed as ours.
	// Nothing tells when the client does so, a moment after its state was restored.
	listPatience = 50 * time.Millisecond
)

// client is the life of one Kafka client: its group membership, its transactions and the
// state of the partitions that it owns. After an error whose outcome is unknown it is thrown
// away and a new one takes over from what was committed.
//
// One goroutine at a time runs the loop (read, stop). Acknowledgements, outputs and the
// group's callbacks come from others.
type client struct {
	conf   *config
	id     string // transactional
	log    *service.Logger
	met    *instruments
	pace   *pace
	group  *kgo.GroupTransactSession
	cl     *kgo.Client
	ready  chan struct{} // closed when the fields above are set: the group begins before that
	admin  *kgo.Client
	adm    *kadm.Client
	limits *limits
	looked time.Time
	// promise is delivered, as a value: to make one costs an allocation for each record.
	promise func(*kgo.Record, error)

	fetchLogged time.Time                    // when an error of a fetch was last logged
	fetchAgain  time.Time                    // when to poll again after one
	behind      []*kgo.ErrDecompressTooLarge // what was not read, and where to go on is still to be told

	// writing is held for reading while a record is produced, and for writing while a
	// transaction ends: kgo forbids both at once.
	writing sync.RWMutex

	mu         sync.Mutex
	wake       chan struct{} // has room for one: something that the loop waits for has changed
	parts      map[topicPartition]*partition
	aside      map[topicPartition]struct{} // assigned, but the state topic lacks a partition for them
	stalled    map[topicPartition]int64    // not read until the former order at this offset has ended
	shelved    map[topicPartition]struct{} // assigned, but their state cannot be read
	epoch      uint64
	assigned   bool      // partitions came while orders were in flight, whose values a new view lacks
	joining    time.Time // since when a join is under way; zero if none is
	skipAssign bool      // the next assignment is the first of two
	revoked    bool      // a revocation has not been cleared by the end of a transaction
	lost       error     // another client has taken over this one's membership
	txn        *transaction
	inFlight   map[*batch]struct{}
	cancelPoll context.CancelFunc
	closed     bool
	aborts     int // in a row
	pausing    pausing
	// fresh tells that what a restart would decide anew has to be committed at once: where to
	// go on with partitions for which the group had committed nothing, or another offset than
	// their state, and that keys which were blocked are not any more.
	fresh bool
}

// transaction is what is open between begin and end.
type transaction struct {
	began time.Time
	// used holds, by partition, the state from which an order was handed out. At the commit
	// each must still be the one that this client owns.
	used   map[topicPartition]*partition
	doomed error
	orders int // handed out
	// refused tells that a produce failed, so that the client does not know a topic as it is.
	refused bool
}

// signal wakes the loop. c.mu must be held.
func (c *client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
	if c.cancelPoll != nil {
		c.cancelPoll()
	}
}

// doom makes the open transaction end with an abort. c.mu must be held.
func (c *client) doom(err error) {
	if c.txn != nil && c.txn.doomed == nil {
		c.txn.doomed = err
		c.signal()
	}
}

// pause waits until something changes, until the time is up, or until ctx ends.
func (c *client) pause(ctx context.Context, until time.Time) error {
	var timeout <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout:
	case <-c.wake:
	}
	return nil
}

// read returns the next batch of orders. It ends transactions on its way. An error means that
// this client is of no more use.
func (c *client) read(ctx context.Context) (*batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.mu.Lock()
		stale := time.Since(c.looked) > c.lookAge()
		c.mu.Unlock()
		if stale {
			c.refreshLimits(ctx)
			if err := c.complete(); err != nil {
				return nil, err
			}
		}
		c.goBehind()
		now := time.Now()
		c.mu.Lock()
		t := c.txn
		switch {
		case c.lost != nil:
			defer c.mu.Unlock()
			return nil, c.lost
		case t != nil && t.doomed != nil:
			c.mu.Unlock()
			if err := c.abort(ctx); err != nil {
				return nil, err
			}
			continue
		case t != nil && !now.Before(t.began.Add(c.conf.commitInterval)):
			c.mu.Unlock()
			if err := c.commit(ctx); err != nil {
				return nil, err
			}
			continue
		case t == nil && !c.joining.IsZero() && now.Before(c.joining.Add(joinPatience)):
			until := c.joining.Add(joinPatience)
			c.mu.Unlock()
			if err := c.pause(ctx, until); err != nil {
				return nil, err
			}
			continue
		case t == nil && c.revoked:
			c.mu.Unlock()
			if err := c.clearRevocation(ctx); err != nil {
				return nil, err
			}
			continue
		case t == nil && c.fresh:
			_, err := c.begin()
			c.mu.Unlock()
			if err != nil {
				return nil, err
			}
			continue
		}
		var commitAt time.Time
		if t != nil {
			commitAt = t.began.Add(c.conf.commitInterval)
		}
		if c.pausing.on {
			c.mu.Unlock()
			if b, err := c.trickle(ctx, now, commitAt); b != nil || err != nil {
				return b, err
			}
			continue
		}
		most := c.batchBound()
		c.mu.Unlock()
		if most == 0 {
			if err := c.pause(ctx, commitAt); err != nil {
				return nil, err
			}
			continue
		}

		if err := c.adopt(ctx); err != nil {
			return nil, err
		}
		b, nextDue, err := c.handDue(ctx, now, most)
		if b != nil || err != nil {
			return b, err
		}
		if b, err = c.poll(ctx, earlier(commitAt, nextDue), most); b != nil || err != nil {
			return b, err
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// batchBound is how many orders may be handed out now, in one batch: none if there are enough in the
// pipeline. What a slow pipeline may have goes to it in several batches, which several threads can
// work on. c.mu must be held.
func (c *client) batchBound() int {
	if len(c.inFlight) >= c.conf.maxInFlight {
		return 0
	}
	bound := c.pace.bound()
	size := min(c.conf.batchSize, max(1, bound/c.conf.maxInFlight))
	return max(0, min(size, bound-c.ordersInFlight()))
}

func (c *client) ordersInFlight() int {
	n := 0
	for b := range c.inFlight {
		n += len(b.orders)
	}
	return n
}

// overdue tells whether the open transaction has lasted longer than the broker allows, and if so,
// bounds the next one further and explains err, what came of it. c.mu must be held.
func (c *client) overdue(err error) error {
	if c.txn == nil || c.txn.began.IsZero() || time.Since(c.txn.began) < c.conf.transactionTimeout {
		return err
	}
	c.pace.timedOut(time.Now())
	return &tooSlow{lasted: time.Since(c.txn.began), timeout: c.conf.transactionTimeout, orders: c.txn.orders, next: c.pace.bound(), err: err}
}

// tooSlow is the error of a transaction that lasted so long that the broker ended it.
type tooSlow struct {
	lasted, timeout time.Duration
	orders, next    int
	err             error
}

func (e *tooSlow) Error() string {
	return fmt.Sprintf("the pipeline took %v for the %d orders of a transaction, and the broker ends one after %s (%v); the next one begins with %d at a time: %v",
		e.lasted.Round(time.Millisecond), e.orders, fieldTransactionTimeout, e.timeout, e.next, e.err)
}

func (e *tooSlow) Unwrap() error { return e.err }

// begin opens a transaction if none is open. c.mu must be held.
func (c *client) begin() (*transaction, error) {
	if c.txn != nil {
		return c.txn, nil
	}
	if err := c.group.Begin(); err != nil {
		return nil, fmt.Errorf("beginning transaction: %w", err)
	}
	c.txn = &transaction{began: time.Now(), used: map[topicPartition]*partition{}}
	if c.fresh {
		owned := c.cl.CommittedOffsets()
		for tp, p := range c.parts {
			if _, ok := owned[tp.topic][tp.partition]; ok {
				c.txn.used[tp] = p
			}
		}
	}
	return c.txn, nil
}

func (c *client) refreshLimits(ctx context.Context) {
	c.looked = time.Now()
	lookCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// What is known stays known; an outage shows in the log of what it stops.
	_ = c.limits.look(lookCtx)
}
