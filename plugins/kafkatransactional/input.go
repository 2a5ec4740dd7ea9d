// Package kafkatransactional reads and writes Kafka in one transaction: what was read, what
// was written, what waits for a retry and what was counted become visible together, or not at
// all. The input owns the transaction, outputs of the same stream write in it, and processors
// reach it through internal/session.
//
// The input is read by one goroutine, its batches are acknowledged by many; outputs may write
// from many. The idea is in partition.go (what one source partition's state is) and client.go
// (the loop) with handout.go (what is handed out); queues.go and blocked.go keep the order of keys,
// commit.go, abort.go and group.go end transactions, pause.go slows the loop down, restore.go and
// leftovers.go begin a partition's life here, at the offset that position.go decides on (reused.go has
// what a log that was cut makes hard), stored.go has the format of the state topic.
package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/rendezvous"
)

const pluginName = "kafka_transactional"

// turns is within how many session timeouts a second fencing means that two instances have the
// same name. When they take turns, each is fenced in every second one.
const turns = 10

func init() {
	if err := Register(service.GlobalEnvironment()); err != nil {
		panic(err)
	}
}

// Register adds the input and the output to an environment. The options go to every client,
// so that tests can give it a dialer of their own.
func Register(env *service.Environment, opts ...kgo.Opt) error {
	if err := env.RegisterBatchInput(pluginName, inputSpec(), func(pc *service.ParsedConfig, res *service.Resources) (service.BatchInput, error) {
		return newInput(pc, res, opts)
	}); err != nil {
		return err
	}
	return env.RegisterBatchOutput(pluginName, outputSpec(), newOutput)
}

// input adapts the client to the host.
type input struct {
	conf     *config
	hub      *hub
	withdraw func() // of the hub, so that the stream can be made again
	log      *service.Logger
	met      *instruments
	pace     *pace

	mu     sync.Mutex
	client *client
	failed int       // connections in a row that were lost before they handed anything out
	fenced time.Time // when another client took over last
	after  time.Time // when the next client may be made
}

func newInput(pc *service.ParsedConfig, res *service.Resources, opts []kgo.Opt) (*input, error) {
	conf, err := parseConfig(pc)
	if err != nil {
		return nil, err
	}
	conf.extra = opts
	h := &hub{reads: conf.topics, state: conf.stateTopic, outcomes: map[string]bool{}}
	withdraw, ok := rendezvous.Offer(res, h)
	if !ok {
		return nil, errors.New("a stream can have one kafka_transactional input only: list all topics in its field topics")
	}
	return &input{
		conf: conf, hub: h, withdraw: withdraw, log: res.Logger(), met: newInstruments(res.Metrics()),
		pace: newPace(conf.transactionTimeout, conf.commitInterval, conf.batchSize*conf.maxInFlight),
	}, nil
}

// Connect makes a client if there is none. If there is one, nothing has got through lately: then it
// is here, where the host takes the input for not ready, that the open transaction ends.
func (in *input) Connect(ctx context.Context) error {
	in.mu.Lock()
	c := in.client
	in.mu.Unlock()
	if c != nil {
		return in.settle(ctx, c)
	}
	if err := pauseUntil(ctx, in.after); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	producer, topics, err := in.hub.producerOpts(in.conf.stateTopic)
	if err != nil {
		return err
	}
	c, err = connect(ctx, in.conf, producer, topics, in.log, in.met, in.pace)
	if err != nil {
		return err
	}
	in.client = c
	return nil
}

// ReadBatch returns the next batch of orders, new ones or those whose retry is due.
func (in *input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	in.mu.Lock()
	c := in.client
	in.mu.Unlock()
	if c == nil {
		return nil, nil, service.ErrNotConnected
	}
	if _, stuck := in.pace.stuck(); stuck && c.busy() {
		return nil, nil, service.ErrNotConnected // see Connect
	}
	b, err := c.read(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err() // a stop; Close ends the transaction
		}
		in.lose(ctx, c, err)
		return nil, nil, service.ErrNotConnected
	}
	in.failed = 0
	msgs := make(service.MessageBatch, len(b.orders))
	for i := range b.orders {
		msgs[i] = b.orders[i].message()
	}
	return msgs, func(_ context.Context, err error) error {
		b.ack(err)
		return nil
	}, nil
}

// settle ends the transaction that c has open. Its error says why that was not committed either.
func (in *input) settle(ctx context.Context, c *client) error {
	reason, err := c.settle(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		in.lose(ctx, c, err)
		reason = err
	}
	if reason != nil {
		aborts, _ := in.pace.stuck()
		return fmt.Errorf("nothing was committed in the last %d transactions: %w", aborts, reason)
	}
	return nil
}

// lose throws a client away after an error whose outcome is unknown. The host then connects
// again, and everything goes on from what was committed.
func (in *input) lose(ctx context.Context, c *client, err error) {
	wait := min(100*time.Millisecond<<min(in.failed, 10), 10*time.Second)
	in.failed++
	_, slow := errors.AsType[*tooSlow](err)
	if isFenced(err) && !slow {
		in.log.With("instance_id", in.conf.instanceID).Errorf("Another client has taken over this transactional id, or the broker ended a transaction that lasted too long; an instance_id must be unique in its group: %v", err)
		// Once may be such a transaction. Twice is another instance of this name: each that comes
		// back fences the other, and would commit nothing without some time alone.
		if now := time.Now(); in.conf.instanceID != "" {
			if now.Sub(in.fenced) < turns*in.conf.sessionTimeout {
				wait = in.conf.sessionTimeout
			}
			in.fenced = now
		}
	} else {
		in.log.Warnf("Lost the transaction, connecting again: %v", err)
	}
	c.giveUp(ctx, err)
	in.mu.Lock()
	in.client = nil
	in.mu.Unlock()
	in.after = time.Now().Add(wait)
}

// giveUp makes the client unusable and waits until nothing of it is in flight, so that the
// next one cannot hand out an order that is still worked on.
func (c *client) giveUp(ctx context.Context, err error) {
	c.mu.Lock()
	c.closed = true
	c.doom(err)
	c.mu.Unlock()
	_ = c.barrier(ctx, true)
	c.close()
}

// Close ends the last transaction. The host calls it when it has answered every batch that
// it took, or when it gives up on them.
func (in *input) Close(context.Context) error {
	in.mu.Lock()
	c := in.client
	in.client = nil
	in.mu.Unlock()
	if c != nil {
		c.stop()
	}
	in.withdraw()
	return nil
}

var _ service.BatchInput = (*input)(nil)
