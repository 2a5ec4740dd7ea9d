package dlqredrive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/summary"
)

// ack ends the transaction of a batch.
func (in *input) ack(ctx context.Context, b *batch, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	defer func() { in.idle <- struct{}{} }()
	c := in.client
	if c == nil {
		return // the stream was closed, which has aborted the transaction
	}
	switch {
	case err != nil:
		in.log.Warnf("A batch was rejected, it is handed out again: %v", shown.Err(err))
		if aborted := c.abort(); aborted != nil {
			in.lost, in.doubt = aborted, b
			return
		}
		in.resolve(b, false)
		in.backOff(ctx)
	case !c.isOpen():
		in.resolve(b, true)
		in.losses = 0
	default:
		in.commit(c, b)
	}
}

func (in *input) commit(c *client, b *batch) {
	err := in.mark(c, b)
	if err == nil {
		err = in.audit(c, time.Time{})
	}
	if err == nil {
		err = c.commit()
	}
	_, notTaken := errors.AsType[*errRefused](err)
	switch {
	case err == nil:
		in.losses, in.written = 0, true
		in.resolve(b, true)
	case notTaken && len(b.letters) > 1:
		// A broker fails all that it was sent with the one that it refuses: singled out, only
		// that one is refused.
		in.log.Warnf("A batch was refused, its letters are sent one by one: %v", shown.Err(err))
		in.resolve(b, false)
		in.single = len(b.letters)
	case notTaken:
		in.log.With("dlq_id", shown.Text(b.letters[0].about.ID), "place", b.letters[0].place.String(), "reason", reasonTopic).Warnf("Refused, it stays open: %v", shown.Err(err))
		in.hub.refuse(b.letters[0], err)
		in.resolve(b, true)
	default:
		in.lost, in.doubt = err, b
	}
}

// mark writes the marks of the letters whose orders are in the open transaction. They name where
// those are, so that it can be told later which orders were sent again.
func (in *input) mark(c *client, b *batch) error {
	if err := c.flush(); err != nil {
		return err
	}
	for _, l := range b.letters {
		if l.state != written {
			continue
		}
		rec, err := l.mark(redrive.Topic(in.conf.topic), in.hub.run.ID, time.Now())
		if err == nil {
			err = c.produce(rec)
		}
		if err != nil {
			return fmt.Errorf("marking %s: %w", l.place, err)
		}
	}
	return nil
}

// audit writes the record of the run into the open transaction, as it will be with it.
func (in *input) audit(c *client, ended time.Time) error {
	run := in.hub.record(ended)
	value, err := json.Marshal(run)
	if err != nil {
		return fmt.Errorf("encoding the audit record: %w", err)
	}
	return c.produce(&kgo.Record{Topic: redrive.Topic(in.conf.topic), Partition: anyPartition, Key: redrive.RunKey(run.ID), Value: value})
}

// end writes the audit record for the last time.
func (in *input) end() error {
	if in.conf.dryRun {
		return nil
	}
	err := in.audit(in.client, time.Now().UTC())
	if err == nil {
		err = in.client.commit()
	}
	in.written = in.written && err != nil
	return err
}

// lose gives up a client after an error whose outcome is not known. The host then connects
// again, unless another redrive has taken over.
func (in *input) lose(ctx context.Context) error {
	err := in.lost
	in.client.close()
	in.client = nil
	if isFenced(err) {
		err = fmt.Errorf("another redrive of %s has taken over, or this one stood still for longer than transaction_timeout: run it again to go on: %w", in.conf.topic, err)
		in.log.Errorf("Redrive ends: %v", err)
		in.hub.drop()
		in.hub.watch.fail(err)
		summary.Default.Fail(err)
		return service.ErrEndOfInput
	}
	in.log.Warnf("Lost the transaction, connecting again: %v", err)
	in.backOff(ctx)
	return service.ErrNotConnected
}

// backOff waits longer after each loss. in.mu is held: there is nothing else to do meanwhile.
func (in *input) backOff(ctx context.Context) {
	wait := time.NewTimer(min(100*time.Millisecond<<min(in.losses, 10), 10*time.Second))
	in.losses++
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-in.hub.halted.Done():
	case <-wait.C:
	}
}

// resolve takes a batch out that is over: it counts if it was committed, and otherwise all of it
// is handed out again. in.mu must be held.
func (in *input) resolve(b *batch, committed bool) {
	again := b.letters
	if committed {
		before := in.hub.snapshot()
		again = in.hub.settle()
		in.met.add(before.Counts, in.hub.snapshot().Counts)
	} else {
		in.hub.drop()
		in.met.aborted.Incr(1)
	}
	in.queue = append(again[:len(again):len(again)], in.queue...)
	in.single = min(in.single, len(in.queue))
	in.progress()
}
