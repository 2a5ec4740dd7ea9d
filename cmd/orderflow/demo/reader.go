package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// reader reads the topics from their start, committed records only, into a ledger.
type reader struct {
	client *kgo.Client
	ledger *Ledger
	done   chan struct{}
}

func startReader(ctx context.Context, topics Topics, opts []kgo.Opt) (*reader, error) {
	client, err := kgo.NewClient(append(opts,
		kgo.ClientID("orderflow-demo"),
		kgo.ConsumeTopics(topics.Orders, topics.Processed, topics.DeadLetters),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// They show that the end of a partition was reached where a transaction ends it.
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(250*time.Millisecond),
	)...)
	if err != nil {
		return nil, fmt.Errorf("reading topics: %w", err)
	}
	r := &reader{client: client, ledger: NewLedger(topics), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			fetches := client.PollFetches(ctx)
			if fetches.IsClientClosed() || ctx.Err() != nil {
				return
			}
			fetches.EachRecord(r.ledger.Observe)
		}
	}()
	return r, nil
}

// catchUp waits until everything that is committed at this moment was read.
func (r *reader) catchUp(ctx context.Context) error {
	t := r.ledger.topics
	ends, err := kadm.NewClient(r.client).ListCommittedOffsets(ctx, t.Orders, t.Processed, t.DeadLetters)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("reading the ends of the topics: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		behind := ""
		ends.Each(func(o kadm.ListedOffset) {
			if !r.ledger.Reached(o.Topic, o.Partition, o.Offset) {
				behind = fmt.Sprintf("%s/%d up to %d", o.Topic, o.Partition, o.Offset)
			}
		})
		if behind == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reading %s: %w", behind, context.Cause(ctx))
		case <-r.done:
			return fmt.Errorf("reading %s: %w", behind, errors.New("the reader has ended"))
		case <-tick.C:
		}
	}
}

func (r *reader) close() {
	r.client.Close()
	<-r.done
}
