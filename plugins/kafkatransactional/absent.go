package kafkatransactional

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
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
	ranges, err := committed.Stable(ctx, c.adm, tp.topic, tp.partition)
	if err != nil {
		return nil, fmt.Errorf("restoring: %w", err)
	}
	if r := ranges[tp.partition]; offset < r.From || offset >= r.To {
		return nil, nil
	}
	var found *kgo.Record
	only := map[int32]committed.Range{tp.partition: {From: offset, To: offset + 1}}
	_, err = committed.Read(ctx, c.conf.clientOpts(), tp.topic, only, func(rec *kgo.Record) error {
		found = rec
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("restoring: %w", err)
	}
	return found, nil
}
