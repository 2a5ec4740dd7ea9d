package dlqredrive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
)

// silence is how long nothing may come before the reader asks whether retention has deleted what
// it waits for.
const silence = 5 * time.Second

// reader reads what a topic held when it began. It outlives the clients that write: where it is
// does not depend on what became of a transaction.
type reader struct {
	cl    *kgo.Client
	topic string
	left  map[int32]committed.Range // by partition: what is still to be read
}

// newReader makes a reader of what a reader of committed records sees now.
func newReader(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, topic string) (*reader, error) {
	ranges, err := committed.Stable(ctx, adm, topic)
	if err != nil {
		return nil, err
	}
	r := &reader{topic: topic, left: map[int32]committed.Range{}}
	from := map[int32]kgo.Offset{}
	for partition, at := range ranges {
		if at.From < at.To {
			r.left[partition] = at
			from[partition] = kgo.NewOffset().At(at.From)
		}
	}
	r.cl, err = kgo.NewClient(append(opts[:len(opts):len(opts)],
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // a partition that ends in markers would never reach its end
		kgo.FetchMaxWait(500*time.Millisecond),
	)...)
	return r, err
}

// done tells whether all was read.
func (r *reader) done() bool { return len(r.left) == 0 }

// rest is how many offsets are still to be read.
func (r *reader) rest() int64 {
	var n int64
	for _, at := range r.left {
		n += at.To - at.From
	}
	return n
}

// poll returns the next records, at most so many; none when nothing came for a while.
func (r *reader) poll(ctx context.Context, most int) ([]*kgo.Record, error) {
	wait, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	fetches := r.cl.PollRecords(wait, most)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var errs []error
	fetches.EachError(func(_ string, partition int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, fmt.Errorf("reading %s/%d: %w", r.topic, partition, err))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var recs []*kgo.Record
	seen := false
	fetches.EachRecord(func(rec *kgo.Record) {
		seen = true
		at, ok := r.left[rec.Partition]
		if !ok {
			return
		}
		if !rec.Attrs.IsControl() && rec.Offset < at.To {
			recs = append(recs, rec)
		}
		if at.From = rec.Offset + 1; at.From >= at.To {
			delete(r.left, rec.Partition)
		} else {
			r.left[rec.Partition] = at
		}
	})
	if !seen {
		return nil, r.forget(ctx)
	}
	return recs, nil
}

// forget gives up what retention has deleted.
func (r *reader) forget(ctx context.Context) error {
	starts, err := kadm.NewClient(r.cl).ListStartOffsets(ctx, r.topic)
	if err != nil {
		return fmt.Errorf("listing offsets of %s: %w", r.topic, err)
	}
	for partition, at := range r.left {
		if start, ok := starts.Lookup(r.topic, partition); ok && start.Err == nil && start.Offset >= at.To {
			delete(r.left, partition)
		}
	}
	return nil
}

func (r *reader) close() { r.cl.Close() }
