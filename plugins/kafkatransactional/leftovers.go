package kafkatransactional

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
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
	_, err = readState(ctx, c.conf.clientOpts(), c.conf.stateTopic, stable, func(k StateKey, value []byte) error {
		tp := topicPartition{k.Topic, k.Partition}
		if _, ours := starts[tp]; !ours || k.Kind != KindLedger || value == nil {
			return nil
		}
		l, err := DecodeLedger(value)
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

// abandoned tells whether a transaction is open that nobody is going to end: one that lives ends
// its transactions within the commit interval, one that died has been silent for a session.
func (c *client) abandoned(ctx context.Context, id string) bool {
	described, err := c.adm.DescribeTransactions(ctx, id)
	if err != nil {
		c.log.Debugf("Looking for leftovers: describing transaction %s: %v", id, err)
		return false
	}
	t, ok := described[id]
	return ok && t.Err == nil && t.State == "Ongoing" && time.Since(time.UnixMilli(t.StartTimestamp)) > c.conf.sessionTimeout/2
}

// endLeftovers aborts the transactions that former owners of our partitions have left open, if
// they are no longer in the group: until then no committed reader gets past them. It fences
// them, which is what a frozen one deserves. If it fails, the broker's timeout does the same.
func (c *client) endLeftovers(ctx context.Context, former map[Owner]bool) {
	delete(former, Owner{})
	maps.DeleteFunc(former, func(o Owner, _ bool) bool { return o.TransactionalID == c.id })
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
		if !c.abandoned(ctx, o.TransactionalID) {
			continue
		}
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID = &o.TransactionalID
		req.TransactionTimeoutMillis = int32(c.conf.transactionTimeout.Milliseconds())
		resp, err := req.RequestWith(ctx, c.admin)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		// While it is being aborted the broker says CONCURRENT_TRANSACTIONS: that is all we want.
		if err != nil && !errors.Is(err, kerr.ConcurrentTransactions) {
			c.log.Debugf("Ending what %s has left open: %v", o.TransactionalID, err)
		}
	}
}
