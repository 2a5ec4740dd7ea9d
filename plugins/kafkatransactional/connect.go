package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// connectTimeout bounds one try to reach a broker.
	connectTimeout = 10 * time.Second
	// mostFetched bounds what a broker answers to one fetch, and mostBuffered what is written but
	// not yet delivered, in bytes.
	mostFetched  = 16 << 20
	mostBuffered = 64 << 20
)

// connect makes a client, checks that the cluster can do what is asked of it, and joins the
// group.
func connect(ctx context.Context, conf *config, producer []kgo.Opt, topics []string, log *service.Logger, met *instruments, pace *pace) (*client, error) {
	c := &client{
		conf: conf, log: log, met: met, pace: pace,
		wake:     make(chan struct{}, 1),
		ready:    make(chan struct{}),
		parts:    map[topicPartition]*partition{},
		aside:    map[topicPartition]struct{}{},
		stalled:  map[topicPartition]int64{},
		shelved:  map[topicPartition]struct{}{},
		inFlight: map[*batch]struct{}{},
	}
	c.promise = c.delivered
	admin, err := kgo.NewClient(conf.clientOpts()...)
	if err != nil {
		return nil, err
	}
	c.admin = admin
	c.adm = kadm.NewClient(admin)
	c.limits = newLimits(c.adm, conf.stateTopic)
	if err := c.check(ctx, topics); err != nil {
		admin.Close()
		return nil, err
	}

	id := conf.transactionalID(conf.instanceID)
	if conf.instanceID == "" {
		id = conf.transactionalID(uuid.NewString())
	}
	c.id = id
	opts := append(conf.clientOpts(),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(conf.transactionTimeout),
		kgo.ConsumerGroup(conf.group),
		kgo.ConsumeTopics(conf.topics...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // what is redriven to us comes in transactions too
		kgo.FetchMaxPartitionBytes(int32(conf.fetchMaxBytes)),
		kgo.FetchMaxBytes(mostFetched),
		kgo.FetchMaxWait(time.Second),
		kgo.MaxDecompressBatchBytes(conf.maxBatchBytes),
		kgo.SessionTimeout(conf.sessionTimeout),
		kgo.HeartbeatInterval(conf.heartbeatInterval),
		kgo.RebalanceTimeout(conf.rebalanceTimeout),
		kgo.OnPartitionsRevoked(c.onRevoked),
		kgo.OnPartitionsLost(c.onLost),
		kgo.OnPartitionsAssigned(c.onAssigned),
		kgo.WithHooks(c),
		kgo.AdjustFetchOffsetsFn(c.adjust), // which decides where to begin
		// What is not in the log any more ends this client: adjust decides for the next one.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// The position moves behind what was aborted only with the marker that follows it.
		kgo.KeepControlRecords(),
		kgo.ProducerBatchMaxBytesFn(c.limits.maxBatchBytes),
		kgo.MaxBufferedRecords(100_000),
		kgo.MaxBufferedBytes(mostBuffered),
	)
	if conf.instanceID != "" {
		opts = append(opts, kgo.InstanceID(conf.instanceID))
	}
	if c.group, err = kgo.NewGroupTransactSession(append(opts, producer...)...); err != nil {
		admin.Close()
		return nil, err
	}
	c.cl = c.group.Client()
	close(c.ready)

	// With a stable transactional id this ends what an earlier life has left open. The restore
	// would wait for it otherwise.
	initCtx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if _, _, err := c.cl.ProducerID(initCtx); err != nil {
		c.close()
		return nil, fmt.Errorf("initialising transactional id %q: %w", id, err)
	}
	return c, nil
}

// check fails if the cluster lacks what the transactions need, and says what to do.
func (c *client) check(ctx context.Context, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	versions, err := c.adm.ApiVersions(ctx)
	if err != nil {
		return fmt.Errorf("connecting to %v: %w", c.conf.brokers, err)
	}
	for _, v := range versions {
		if v.Err != nil {
			continue
		}
		if top, ok := v.KeyMaxVersion(int16(kmsg.TxnOffsetCommit)); !ok || top < 3 {
			return errors.New("the brokers do not support transactions as of Kafka 2.5 (TxnOffsetCommit version 3): use the at-least-once pipeline, or newer brokers")
		}
	}
	c.looked = time.Now()
	if err := c.limits.look(ctx, append(append([]string{c.conf.stateTopic}, c.conf.topics...), topics...)...); err != nil {
		return err
	}
	state, _ := c.limits.of(c.conf.stateTopic)
	if !state.exists {
		return fmt.Errorf("state topic %q does not exist: create it with cleanup.policy=compact and as many partitions as %v", c.conf.stateTopic, c.conf.topics)
	}
	if !state.described {
		c.log.Warnf("The configuration of topic %s may not be read: it must have cleanup.policy=compact", c.conf.stateTopic)
	} else if !state.compacted {
		return fmt.Errorf("state topic %q is not compacted: set its cleanup.policy to compact", c.conf.stateTopic)
	}
	for _, topic := range c.conf.topics {
		t, _ := c.limits.of(topic)
		if !t.exists {
			return fmt.Errorf("topic %q does not exist", topic)
		}
		if t.partitions > state.partitions {
			return fmt.Errorf("state topic %q has %d partitions, but topic %q has %d: it needs as many", c.conf.stateTopic, state.partitions, topic, t.partitions)
		}
	}
	return nil
}

// stop ends the transaction as well as it can, leaves the group and closes. What the host has
// dropped unseen has produced nothing: it waits in the state topic, due at once.
func (c *client) stop() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.writing.Lock() // outputs that write have seen closed, or are done
	c.mu.Lock()
	open := c.txn != nil && !c.txn.began.IsZero()
	for b := range c.inFlight {
		b.mu.Lock()
		for i := range b.orders {
			o := &b.orders[i]
			if o.produced > 0 {
				c.doom(errors.New("stopped while a batch was in flight"))
			}
			if o.part != nil {
				o.part.putBack(o, time.Now())
			}
		}
		b.mu.Unlock()
	}
	clear(c.inFlight)
	c.mu.Unlock()
	c.writing.Unlock()

	if open {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		err := c.commit(ctx)
		cancel()
		if c.isOpen() {
			ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
			c.writing.Lock()
			_, aborted := c.group.End(ctx, kgo.TryAbort)
			c.writing.Unlock()
			cancel()
			err = errors.Join(err, aborted)
		}
		if err != nil {
			c.log.Warnf("Ending the last transaction: %v", err)
		}
	}
	c.close()
}

func (c *client) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.txn != nil && !c.txn.began.IsZero()
}

// close leaves the group and closes the client. A join in flight would hold it up: then the
// group learns of it from a request of another client.
func (c *client) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	member, _ := c.cl.GroupMetadata()
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.cl.Close()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		if member != "" && c.conf.instanceID == "" {
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Group = c.conf.group
			m := kmsg.NewLeaveGroupRequestMember()
			m.MemberID = member
			req.Members = append(req.Members, m)
			req.MemberID = member
			last, cancel := context.WithTimeout(context.Background(), leaveTimeout)
			_, _ = req.RequestWith(last, c.admin)
			cancel()
		}
	}
	c.admin.Close()
}

// isFenced tells that another client has taken over this one's transactional id or membership.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.FencedInstanceID)
}
