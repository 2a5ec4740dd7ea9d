package dlqredrive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/redrive"
)

const (
	// connectTimeout bounds one try to reach a broker.
	connectTimeout = 10 * time.Second
	// endTimeout bounds the end of a transaction, be it ours or that of a run that died.
	endTimeout = 40 * time.Second
	// stopTimeout bounds it once the stream is to stop.
	stopTimeout = 5 * time.Second
)

// client is the life of one transactional producer. After an error with unknown outcome it is
// thrown away, and the next one asks the broker, by the marks, what was done.
type client struct {
	cl     *kgo.Client // nil in a dry run
	admin  *kgo.Client
	adm    *kadm.Client
	topics *topics
	marks  map[string]struct{} // keys of the redrive topic
	sent   redrive.Sent
	id     string          // of the dead-letter topic whose marks they are; empty if unknown
	halted context.Context // ends when the stream is to stop

	mu     sync.Mutex
	open   bool  // a transaction is
	failed error // the first delivery that failed in it
}

// connect reaches the cluster, takes over from an earlier run, whose open transaction it ends,
// and then reads which letters are marked. A dry run does neither fence nor write. The id is that
// of the topic whose letters the run reads, or empty if it has not begun to read.
func connect(ctx context.Context, conf *config, h *hub, id string) (*client, error) {
	c := &client{id: id, halted: h.halted}
	var err error
	if c.admin, err = kgo.NewClient(conf.opts...); err != nil {
		return nil, err
	}
	c.adm = kadm.NewClient(c.admin)
	c.topics = &topics{adm: c.adm, maxBytes: map[string]int32{}}
	if err := c.prepare(ctx, conf, h.parking()); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) prepare(ctx context.Context, conf *config, parking string) error {
	reach, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := c.admin.Ping(reach); err != nil {
		return fmt.Errorf("connecting to %v: %w", conf.brokers, err)
	}
	if c.id == "" {
		var err error
		if c.id, err = letters.TopicID(reach, c.adm, conf.topic); err != nil {
			return err
		}
	}
	list := committed.Stable
	if !conf.dryRun {
		if err := c.topics.create(reach, conf.topic, parking); err != nil {
			return err
		}
		if err := c.takeOver(ctx, conf); err != nil {
			return err
		}
		list = committed.All
	}
	ranges, err := list(ctx, c.adm, redrive.Topic(conf.topic))
	if conf.dryRun && errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil // nothing was ever redriven
	}
	if err == nil {
		c.marks, c.sent, err = letters.Marks(ctx, conf.opts, conf.topic, c.id, ranges, func(redrive.Mark) struct{} { return struct{}{} })
	}
	if err != nil {
		return fmt.Errorf("reading marks: %w", err)
	}
	return nil
}

// takeOver makes the producer and ends the transaction that a dead run has left open, so that its
// marks can be read.
func (c *client) takeOver(ctx context.Context, conf *config) error {
	var err error
	if c.cl, err = kgo.NewClient(append(conf.opts[:len(conf.opts):len(conf.opts)],
		kgo.TransactionalID(transactionalID(conf.topic)),
		kgo.TransactionTimeout(conf.timeout),
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerBatchMaxBytesFn(c.topics.batchBytes),
	)...); err != nil {
		return err
	}
	end, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if _, _, err := c.cl.ProducerID(end); err != nil {
		return fmt.Errorf("initialising transactional id %q: %w", transactionalID(conf.topic), err)
	}
	return nil
}

// transactionalID is the same for each redrive of a dead-letter topic, so that a second one
// fences the first.
func transactionalID(letters string) string { return "orderflow-redrive-" + letters }

// marked tells whether a letter is open no more.
func (c *client) marked(l *letter) bool {
	_, ok := c.marks[string(l.place.Key())]
	return ok
}

// produce buffers records in the transaction, which the first begins. An error of a delivery
// shows at the commit.
func (c *client) produce(recs ...*kgo.Record) error {
	if err := c.begin(); err != nil {
		return err
	}
	for _, rec := range recs {
		// Not the context of the one who writes: a stop must not fail what it commits.
		c.cl.Produce(context.Background(), rec, func(rec *kgo.Record, err error) {
			if err == nil {
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.failed == nil {
				c.failed = fmt.Errorf("producing to %s: %w", rec.Topic, err)
			}
		})
	}
	return nil
}

func (c *client) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		return nil
	}
	if err := c.cl.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	c.open, c.failed = true, nil
	return nil
}

func (c *client) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// patience bounds the end of a transaction. It does not end with the one who asks for it: a stop
// must not cut short what it waits for, but it does not wait for long.
func (c *client) patience() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	stop := context.AfterFunc(c.halted, func() { time.AfterFunc(stopTimeout, cancel) })
	return ctx, func() {
		stop()
		cancel()
	}
}

// flush waits until all that was produced is delivered, and so has a place. After an *errRefused
// the transaction is aborted, and the client is as good as before.
func (c *client) flush() error {
	ctx, cancel := c.patience()
	defer cancel()
	if err := c.cl.Flush(ctx); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	c.mu.Lock()
	failed := c.failed
	c.mu.Unlock()
	if failed != nil {
		if !isRefusal(failed) {
			return failed
		}
		if err := c.abort(); err != nil {
			return err
		}
		return &errRefused{failed}
	}
	return nil
}

// commit ends the open transaction. After an error nobody knows how it ended, unless it is an
// *errRefused: then nothing of it was committed.
func (c *client) commit() error {
	if err := c.flush(); err != nil {
		return err
	}
	ctx, cancel := c.patience()
	defer cancel()
	if err := c.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("committing transaction: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = false
	return nil
}

// abort ends the open transaction, if there is one, so that nothing of it is seen.
func (c *client) abort() error {
	if !c.isOpen() {
		return nil
	}
	ctx, cancel := c.patience()
	defer cancel()
	if err := c.cl.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("aborting transaction: %w", err)
	}
	if err := c.cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("aborting transaction: %w", err)
	}
	if _, _, err := c.cl.ProducerID(ctx); err != nil {
		return fmt.Errorf("renewing producer id: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = false
	return nil
}

func (c *client) close() {
	if c.cl != nil {
		c.cl.Close()
	}
	c.admin.Close()
}

// errRefused is a transaction that was aborted since a broker did not take one of its records.
type errRefused struct{ err error }

func (e *errRefused) Error() string { return e.err.Error() }
func (e *errRefused) Unwrap() error { return e.err }

// isRefusal tells that a broker has said no to a record, and would again.
func isRefusal(err error) bool {
	ke, ok := errors.AsType[*kerr.Error](err)
	return ok && !ke.Retriable && !isFenced(err)
}

// isFenced tells that another client has taken over the transactional id.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
}
