package kafkatransactional

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchAbsent reads waiting orders that were too large for the state topic from the topics that
// they came from. One that retention has deleted meanwhile is lost: that is logged, and it
// counts as dropped.
func (c *client) fetchAbsent(ctx context.Context, parts map[topicPartition]*partition) error {
	for tp, p := range parts {
		for offset, w := range p.waiting {
			if !w.absent {
				continue
			}
			rec, err := c.fetchRecord(ctx, tp, offset)
			if err != nil {
				return err
			}
			if rec == nil {
				c.log.Errorf("Order %s/%d is gone: it was too large for the state topic, and its topic has deleted it while it waited", tp, offset)
				p.end(offset)
				p.ledger.Dropped++
				p.ledgerDirty = true
				continue
			}
			*w.rec, w.absent = *rec, false
		}
	}
	return nil
}

// fetchRecord reads one record, or none if it is not there any more.
func (c *client) fetchRecord(ctx context.Context, tp topicPartition, offset int64) (*kgo.Record, error) {
	starts, err := c.adm.ListStartOffsets(ctx, tp.topic)
	if err != nil {
		return nil, fmt.Errorf("restoring: listing offsets of %s: %w", tp.topic, err)
	}
	if start, ok := starts.Lookup(tp.topic, tp.partition); !ok || start.Err != nil || start.Offset > offset {
		return nil, start.Err
	}
	cl, err := kgo.NewClient(append(slices.Clone(c.conf.clientOpts()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{tp.topic: {tp.partition: kgo.NewOffset().At(offset)}}),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(500*time.Millisecond),
	)...)
	if err != nil {
		return nil, fmt.Errorf("restoring: %w", err)
	}
	defer cl.Close()
	for {
		fetches := cl.PollRecords(ctx, 1)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("restoring: %w", err)
		}
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("restoring %s/%d: %w", tp, offset, err)
		}
		if recs := fetches.Records(); len(recs) > 0 {
			if recs[0].Offset == offset {
				return recs[0], nil
			}
			return nil, nil
		}
	}
}
