// Package dlqredrive is the input, processor and output dlq_redrive: it sends the orders of dead
// letters again, chosen and mended by the processor, and marks the letters in the transaction
// that sends them. So each order is sent once, across errors, kills and restarts, and a redrive
// that was interrupted goes on where it was.
//
// One batch is in flight at a time, and is one transaction: the output writes into it, the
// acknowledgement commits it. The idea is in plan.go (which letters, where to) and letter.go
// (what a letter becomes); hub.go is where the three parts meet, client.go has the transactions.
package dlqredrive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/rendezvous"
	"github.com/orderflow/orderflow/internal/summary"
)

const pluginName = "dlq_redrive"

func init() {
	if err := register(service.GlobalEnvironment(), nil, nil); err != nil {
		panic(err)
	}
}

// Register adds input, processor and output to an environment, such that w shows what they do.
// The options go to every client.
func Register(env *service.Environment, w *Watch, opts ...kgo.Opt) error {
	return register(env, w, opts)
}

func register(env *service.Environment, w *Watch, opts []kgo.Opt) error {
	if err := env.RegisterBatchInput(pluginName, inputSpec(), func(pc *service.ParsedConfig, res *service.Resources) (service.BatchInput, error) {
		return newInput(pc, res, w, opts)
	}); err != nil {
		return err
	}
	if err := env.RegisterProcessor(pluginName, processorSpec(), func(pc *service.ParsedConfig, res *service.Resources) (service.Processor, error) {
		return newProcessor(pc, res)
	}); err != nil {
		return err
	}
	return env.RegisterBatchOutput(pluginName, outputSpec(), newOutput)
}

// input adapts reader and client to the host.
type input struct {
	conf     *config
	hub      *hub
	withdraw func() // of the hub, so that the stream can be made again
	log      *service.Logger
	met      *instruments

	mu      sync.Mutex
	client  *client
	reader  *committed.Reader // of the letters; it outlives the clients that write
	topicID string            // of the topic that it reads
	queue   []*letter         // read, and not yet handed out
	marked  int64             // letters, not yet read, that were open no more when the run began
	seen    int64             // those that are open
	single  int               // of the queue, how many are handed out one by one
	doubt   *batch            // whether it was committed is not known
	lost    error             // the client is of no more use
	losses  int               // in a row
	idle    chan struct{}
	written bool // the audit record has been, so that it has to be ended
}

func newInput(pc *service.ParsedConfig, res *service.Resources, w *Watch, opts []kgo.Opt) (*input, error) {
	conf, err := parseConfig(pc, opts)
	if err != nil {
		return nil, err
	}
	if w == nil {
		w = &Watch{}
	}
	h := newHub(w)
	withdraw, ok := rendezvous.Offer(res, h)
	if !ok {
		return nil, errors.New("a stream can have one dlq_redrive input only")
	}
	h.run.ID, h.run.By, h.run.Begun = newRunID(time.Now()), whoami(), time.Now().UTC()
	h.plan.letters, h.plan.parking = conf.topic, conf.topic+"-parking"
	h.sampling = conf.dryRun
	in := &input{conf: conf, hub: h, withdraw: withdraw, log: res.Logger(), met: newInstruments(res.Metrics()), idle: make(chan struct{}, 1)}
	in.idle <- struct{}{}
	summary.Default.Add(func(w io.Writer) {
		fmt.Fprintf(w, "Redrive of %s\n", conf.topic)
		h.snapshot().Print(w, conf.dryRun)
	})
	return in, nil
}

// Connect makes a client if there is none, and settles what is not known of the last one.
func (in *input) Connect(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.client != nil {
		return nil
	}
	if !in.hub.complete() {
		return errors.New("input dlq_redrive needs a processor and an output dlq_redrive in the same stream")
	}
	c, err := connect(ctx, in.conf, in.hub, in.topicID)
	if err != nil {
		return err
	}
	if in.reader == nil {
		ranges, err := committed.Stable(ctx, c.adm, in.conf.topic)
		if err == nil {
			in.reader, err = committed.NewReader(in.conf.opts, in.conf.topic, ranges)
		}
		if err != nil {
			c.close()
			return err
		}
		in.topicID, in.marked = c.id, int64(len(c.marks))
	}
	in.client, in.lost = c, nil
	in.hub.connected(c)
	if b := in.doubt; b != nil {
		in.doubt = nil
		in.resolve(b, b.committed(c))
	}
	in.progress()
	return nil
}

// ReadBatch hands out the next batch once the one before is over.
func (in *input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	select {
	case <-ctx.Done():
		in.hub.halt()
		return nil, nil, ctx.Err()
	case <-in.idle:
	}
	b, err := in.next(ctx)
	if err != nil {
		in.idle <- struct{}{}
		return nil, nil, err
	}
	msgs := make(service.MessageBatch, len(b.letters))
	for i, l := range b.letters {
		msgs[i] = l.message()
	}
	return msgs, func(ctx context.Context, err error) error {
		in.ack(ctx, b, err)
		return nil
	}, nil
}

func (in *input) next(ctx context.Context) (*batch, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.client == nil {
		return nil, service.ErrNotConnected
	}
	for in.lost == nil && len(in.queue) == 0 && !in.reader.Done() {
		if err := in.read(ctx); err != nil {
			return nil, err
		}
	}
	if in.lost == nil && len(in.queue) == 0 {
		in.lost = in.end()
		if in.lost == nil {
			return nil, service.ErrEndOfInput
		}
	}
	if in.lost != nil {
		return nil, in.lose(ctx)
	}
	n := min(len(in.queue), in.conf.batchSize)
	if in.single > 0 {
		n = 1
		in.single--
	}
	b := newBatch(in.queue[:n:n], time.Now().Add(in.conf.commitInterval))
	in.queue = in.queue[n:]
	in.hub.begin(b)
	return b, nil
}

// read fills the queue with letters that are open. Once the limit is reached it only counts them.
func (in *input) read(ctx context.Context) error {
	recs, err := in.reader.Poll(ctx, in.conf.batchSize)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err() // a stop
		}
		return err
	}
	full := in.hub.isFull()
	var beyond int64
	for _, rec := range recs {
		l := newLetter(rec, in.topicID, &in.client.sent)
		switch {
		case in.client.marked(l):
			in.marked--
			continue
		case full:
			beyond++
		default:
			in.queue = append(in.queue, l)
		}
		in.seen++
	}
	in.hub.leave(beyond)
	in.progress()
	return nil
}

// progress tells how many open letters were looked at, and how many there are. Of what was not
// read yet it takes each offset for a letter, and knows how many of them are marked.
func (in *input) progress() {
	passed := in.seen - int64(len(in.queue))
	rest := max(0, in.reader.Left()-in.marked)
	in.hub.progress(passed, in.seen+rest)
}

// Close ends what is open. The host calls it when every batch is answered, or when it gives up
// on them.
func (in *input) Close(context.Context) error {
	in.hub.halt()
	in.mu.Lock()
	defer in.mu.Unlock()
	if c := in.client; c != nil && in.lost == nil {
		err := c.abort()
		if err == nil && in.written {
			err = in.end()
		}
		if err != nil {
			in.log.Warnf("Ending the last transaction: %v", err)
		}
	}
	if in.client != nil {
		in.client.close()
		in.client = nil
	}
	if in.reader != nil {
		in.reader.Close()
	}
	in.withdraw()
	return nil
}

var _ service.BatchInput = (*input)(nil)
