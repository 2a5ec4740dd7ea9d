package committed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// silence is how long nothing may come before a reader asks whether retention has deleted what it
// waits for.
const silence = 5 * time.Second

// Reader reads ranges of a topic piece by piece. It is used by one goroutine at a time.
type Reader struct {
	opts  []kgo.Opt
	cl    *kgo.Client // nil as long as there was nothing to read
	topic string
	left  map[int32]Range // what is still to be read, by partition
	from  map[int32]kgo.Offset
	// all tells that markers and what was aborted are returned too.
	all bool
}

// NewReader makes a reader of ranges of a topic. The options are those of a client: brokers and how
// to talk to them.
func NewReader(opts []kgo.Opt, topic string, ranges map[int32]Range) (*Reader, error) {
	return newReader(opts, topic, ranges, false)
}

func newReader(opts []kgo.Opt, topic string, ranges map[int32]Range, all bool) (*Reader, error) {
	r := &Reader{opts: opts, topic: topic, all: all}
	return r, r.Seek(ranges)
}

// Seek makes other ranges those that are still to be read.
func (r *Reader) Seek(ranges map[int32]Range) error {
	level := kgo.ReadCommitted()
	if r.all {
		level = kgo.ReadUncommitted()
	}
	before := slices.Collect(maps.Keys(r.from))
	r.left, r.from = map[int32]Range{}, map[int32]kgo.Offset{}
	for partition, at := range ranges {
		if at.From < at.To {
			r.left[partition] = at
			r.from[partition] = kgo.NewOffset().At(at.From)
		}
	}
	from := map[string]map[int32]kgo.Offset{r.topic: r.from}
	if r.cl != nil {
		r.cl.RemoveConsumePartitions(map[string][]int32{r.topic: before})
		r.cl.AddConsumePartitions(from)
	}
	if r.cl != nil || r.Done() {
		return nil
	}
	var err error
	r.cl, err = kgo.NewClient(append(slices.Clone(r.opts),
		kgo.ConsumePartitions(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // retention may be faster than the reader
		kgo.FetchIsolationLevel(level),
		kgo.KeepControlRecords(), // a partition that ends in markers would never reach its end
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.MaxDecompressBatchBytes(MaxBatchBytes),
	)...)
	return err
}

// Done tells whether all was read.
func (r *Reader) Done() bool { return len(r.left) == 0 }

// Left is how many offsets are still to be read.
func (r *Reader) Left() int64 {
	var n int64
	for _, at := range r.left {
		n += at.To - at.From
	}
	return n
}

// Poll waits for the next records and returns them, by partition in the order of their offsets; at
// most so many, or, if that is 0, all that have come. It returns none when nothing came for a while.
// Some may stand for others, see Unreadable.
func (r *Reader) Poll(ctx context.Context, most int) ([]*kgo.Record, error) {
	wait, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	fetches := r.cl.PollRecords(wait, most)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.topic, err)
	}
	var errs []error
	var large []*kgo.ErrDecompressTooLarge
	fetches.EachError(func(_ string, partition int32, err error) {
		if e, ok := errors.AsType[*kgo.ErrDecompressTooLarge](err); ok {
			large = append(large, e)
		} else if !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, fmt.Errorf("reading %s/%d: %w", r.topic, partition, err))
		}
	})
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if fetches.Empty() && len(large) == 0 {
		return nil, r.forget(ctx)
	}
	recs := make([]*kgo.Record, 0, fetches.NumRecords()+len(large))
	fetches.EachRecord(func(rec *kgo.Record) {
		at, ok := r.left[rec.Partition]
		if !ok {
			return
		}
		if (r.all || !rec.Attrs.IsControl()) && rec.Offset < at.To {
			recs = append(recs, rec)
		}
		if at.From = rec.Offset + 1; at.From >= at.To {
			delete(r.left, rec.Partition)
		} else {
			r.left[rec.Partition] = at
		}
	})
	for _, e := range large {
		if rec := r.pass(e); rec != nil {
			recs = append(recs, rec)
		}
	}
	return recs, nil
}

// pass goes on behind a batch that is too large, and returns what stands for it. The client reads
// nothing more of its partition otherwise.
func (r *Reader) pass(e *kgo.ErrDecompressTooLarge) *kgo.Record {
	at, ok := r.left[e.Partition]
	if !ok || e.Offset >= at.To {
		delete(r.left, e.Partition)
		return nil
	}
	rec := standIn(e.Topic, e.Partition, max(e.Offset, at.From), min(e.NextOffset, at.To))
	if at.From = e.NextOffset; at.From >= at.To {
		delete(r.left, e.Partition)
		return rec
	}
	r.left[e.Partition] = at
	r.cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{e.Topic: {e.Partition: {Epoch: e.Epoch, Offset: e.NextOffset}}})
	return rec
}

// forget gives up what retention has deleted.
func (r *Reader) forget(ctx context.Context) error {
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

// Close lets go of the brokers.
func (r *Reader) Close() {
	if r.cl != nil {
		r.cl.Close()
	}
}

// Read calls fn for each committed record in the ranges, as a Reader returns them, and returns how
// many there were. An error of fn ends the reading and is returned as it is.
func Read(ctx context.Context, opts []kgo.Opt, topic string, ranges map[int32]Range, fn func(*kgo.Record) error) (int64, error) {
	r, err := NewReader(opts, topic, ranges)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return r.read(ctx, fn)
}

// Offsets calls fn for each offset in the ranges at which there is anything: a record, committed or
// not, or the marker of a transaction. Compaction leaves none.
func Offsets(ctx context.Context, opts []kgo.Opt, topic string, ranges map[int32]Range, fn func(partition int32, offset int64)) error {
	r, err := newReader(opts, topic, ranges, true)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.read(ctx, func(rec *kgo.Record) error {
		fn(rec.Partition, rec.Offset)
		next, _ := Unreadable(rec)
		for offset := rec.Offset + 1; offset < next; offset++ {
			fn(rec.Partition, offset)
		}
		return nil
	})
	return err
}

func (r *Reader) read(ctx context.Context, fn func(*kgo.Record) error) (int64, error) {
	var n int64
	for !r.Done() {
		recs, err := r.Poll(ctx, 0)
		if err != nil {
			return n, err
		}
		for _, rec := range recs {
			n++
			if err := fn(rec); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
