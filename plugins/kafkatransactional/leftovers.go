package kafkatransactional

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderflow/orderflow/internal/committed"
)

// self names this client in the ledgers of its partitions.
func (c *client) self() Owner {
	member, _ := c.cl.GroupMetadata()
	return Owner{Member: member, TransactionalID: c.id}
}

// unblock ends a transaction that keeps the state from being read to its end, if its owner is
// gone. The broker would do so too, after transaction_timeout and up to 10 s more.
func (c *client) unblock(ctx context.Context, numbers []int32, starts map[topicPartition]int64, state map[int32]committed.Range) error {
	stable, err := committed.Stable(ctx, c.adm, c.conf.stateTopic, numbers...)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(numbers, func(n int32) bool { return stable[n].To < state[n].To }) {
		return nil
	}
	newest := map[topicPartition]Owner{}
	_, _, err = readState(ctx, c.conf.clientOpts(), c.conf.stateTopic, stable, func(k StateKey, rec *kgo.Record) error {
		tp := topicPartition{k.Topic, k.Partition}
		if _, ours := starts[tp]; !ours || k.Kind != KindLedger || rec.Value == nil {
			return nil
		}
		l, err := DecodeLedger(rec.Value)
		newest[tp] = l.Owner
		return err
	})
	if err != nil {
		return err
	}
	former := map[Owner]bool{}
	for _, o := range newest {
		former[o] = true
	}
	c.endLeftovers(ctx, former)
	return nil
}

// endLeftovers aborts the transactions that former owners of our partitions have left open, if
// they are no longer in the group: until then no committed reader gets past them. It fences
// them, which is what a frozen one deserves. What cannot be told yet is looked at again, until
// the broker's timeout has done the same. An id that is none of this group's is no former owner's,
// whatever the state says, and is left alone.
func (c *client) endLeftovers(ctx context.Context, former map[Owner]bool) {
	maps.DeleteFunc(former, func(o Owner, _ bool) bool {
		return o.TransactionalID == c.id || !strings.HasPrefix(o.TransactionalID, c.conf.transactionalID(""))
	})
	c.endGone(ctx, former)
	if len(former) == 0 {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(c.admin.Context(), c.conf.transactionTimeout)
		defer cancel()
		for len(former) > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(c.conf.sessionTimeout / 6):
			}
			c.endGone(ctx, former)
		}
	}()
}

// endGone deletes from former who is alive or has nothing open, and ends what others have open.
func (c *client) endGone(ctx context.Context, former map[Owner]bool) {
	if len(former) == 0 {
		return
	}
	groups, err := c.adm.DescribeGroups(ctx, c.conf.group)
	if err == nil {
		err = groups.Error()
	}
	if err != nil {
		c.log.Debugf("Looking for leftovers: describing group: %v", err)
		return
	}
	for _, m := range groups[c.conf.group].Members {
		maps.DeleteFunc(former, func(o Owner, _ bool) bool {
			// An instance that lost its session is back under another member id.
			return o.Member == m.MemberID || m.InstanceID != nil && o.TransactionalID == c.conf.transactionalID(*m.InstanceID)
		})
	}
	for o := range former {
		switch t, err := c.transactionOf(ctx, o.TransactionalID); {
		case err != nil:
			c.log.Debugf("Looking for leftovers: describing transaction %s: %v", o.TransactionalID, err)
			continue
		case t.State != "Ongoing":
		case time.Since(time.UnixMilli(t.StartTimestamp)) < c.conf.sessionTimeout/2:
			// One that lives ends its transactions within the commit interval, one that died has
			// been silent for most of a session.
			continue
		default:
			if err := c.abortOf(ctx, o.TransactionalID); err != nil {
				c.log.Debugf("Ending what %s has left open: %v", o.TransactionalID, err)
				continue
			}
			c.log.With("transactional_id", o.TransactionalID).Info("Ended the transaction that a former owner of our partitions had left open")
		}
		delete(former, o)
	}
}

// transactionOf describes what a transactional id does now; the zero value is nothing.
func (c *client) transactionOf(ctx context.Context, id string) (kadm.DescribedTransaction, error) {
	described, err := c.adm.DescribeTransactions(ctx, id)
	if err != nil {
		return kadm.DescribedTransaction{}, err
	}
	t := described[id]
	if errors.Is(t.Err, kerr.TransactionalIDNotFound) {
		return kadm.DescribedTransaction{}, nil
	}
	return t, t.Err
}

// abortOf has the broker abort what is open under a transactional id.
func (c *client) abortOf(ctx context.Context, id string) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &id
	req.TransactionTimeoutMillis = int32(c.conf.transactionTimeout.Milliseconds())
	resp, err := req.RequestWith(ctx, c.admin)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if errors.Is(err, kerr.ConcurrentTransactions) { // it is being aborted: that is all we want
		return nil
	}
	return err
}
