// Package demo is the command `orderflow demo`: producer, consumer and dead-letter monitor on an
// embedded broker and registry, with nothing installed, and a check of the result.
//
// The broker and the registry run in this process, each pipeline in one of its own, from the same
// executable. What is shown and checked is read from the broker, committed records only; the
// retries and the average come from the consumer's metrics.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// quiet is how long no order may come in or get done before the demo gives up. An order waits
	// for 7 s in all, and a group that has lost a member takes 10 s to notice.
	quiet = 30 * time.Second
	// patience is how long a pipeline may take to stop.
	patience = 30 * time.Second
	// look is how often the demo looks around.
	look = 200 * time.Millisecond
)

// Options say what to show.
type Options struct {
	Count       int
	Interval    time.Duration
	Seed        int64 // of the orders and of the simulated failures
	FailureRate float64
	FailureMode string // sticky or transient
	// Keep leaves everything running at the end, until the context ends.
	Keep bool
	// Terminal draws the progress in one line.
	Terminal bool
	// Executable is the orderflow binary that runs the pipelines.
	Executable string
}

// Check returns an error that names the first wrong option, by its flag.
func (o Options) Check() error {
	switch {
	case o.Count < 1:
		return fmt.Errorf("flag --%s: %d, expected a number above 0", flagCount, o.Count)
	case o.Interval <= 0:
		return fmt.Errorf("flag --%s: %v, expected a duration above 0", flagInterval, o.Interval)
	case !(o.FailureRate >= 0 && o.FailureRate <= 1): // NaN is neither
		return fmt.Errorf("flag --%s: %v, expected a number from 0 to 1", flagRate, o.FailureRate)
	case o.FailureMode != modeSticky && o.FailureMode != modeTransient:
		return fmt.Errorf("flag --%s: %q, expected %s or %s", flagMode, o.FailureMode, modeSticky, modeTransient)
	}
	return nil
}

// errInterrupted is the cause when the context ended before the demo did.
var errInterrupted = errors.New("interrupted before all orders were done")

// Run runs the demo and writes it to out. The error says why it failed or what does not add up.
// Nothing of it is left running afterwards, whatever happens.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	if err := o.Check(); err != nil {
		return err
	}
	fmt.Fprintf(out, "Orderflow demo: %d orders, one every %v; %g%% of them fail (%s, seed %d).\n",
		o.Count, o.Interval, o.FailureRate*100, o.FailureMode, o.Seed)
	s, err := begin(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = s.end(out, err) }()
	fmt.Fprintf(out, "Kafka broker %s, schema registry %s.\n\n", s.broker.Address(), s.registry.URL())

	if err := s.watch(ctx, out); err != nil {
		return err
	}
	s.awaitMonitor(ctx)
	if o.Keep {
		// Whatever it is, it can be looked at. The end repeats the check.
		printBalance(out, s.reader.ledger.Balance())
		s.printCommands(out)
		<-ctx.Done()
	}
	// From here on an interruption changes nothing: all of it ends soon.
	ctx = context.WithoutCancel(ctx)
	if err := s.stopPipelines(); err != nil {
		return err
	}
	s.printSummaries(out)
	printDeadLetter(out, s.reader.ledger.Sample())

	ctx, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	if err := s.reader.catchUp(ctx); err != nil {
		return err
	}
	balance := s.reader.ledger.Balance()
	printBalance(out, balance)
	return verdict(balance, o.Count)
}

// verdict says what does not add up, or nil.
func verdict(b Balance, count int) error {
	switch {
	case !b.Holds():
		return errors.New("the orders do not add up: in is not processed + dead-lettered")
	case b.In != count:
		return fmt.Errorf("the orders do not add up: %d orders came in, expected %d", b.In, count)
	}
	return nil
}

// watch shows the progress until each order has an outcome.
func (s *session) watch(ctx context.Context, out io.Writer) error {
	d := &drawer{out: out, terminal: s.options.Terminal}
	defer d.leave()
	start := time.Now()
	stall := time.NewTimer(quiet + s.options.Interval)
	defer stall.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()

	now := progress{expected: s.options.Count}
	for {
		select {
		case <-ctx.Done():
			return errInterrupted
		case <-stall.C:
			return fmt.Errorf("no order was read or done for %v, with %d of %d orders done",
				quiet+s.options.Interval, now.balance.Processed+now.balance.DeadLettered, s.options.Count)
		case <-tick.C:
		}
		before := now
		now.elapsed = time.Since(start)
		now.balance = s.reader.ledger.Balance()
		now.gauges = s.consumerGauges(ctx, before.gauges)
		// Retries alone are no progress: they go on for ever if their orders come back again and again.
		if b, a := before.balance, now.balance; a.In != b.In || a.Processed != b.Processed || a.DeadLettered != b.DeadLettered {
			stall.Reset(quiet + s.options.Interval)
		}
		d.draw(now)

		if err := s.checkPipelines(); err != nil {
			return err
		}
		if !s.producer.ended() || len(now.balance.Missing) > 0 {
			continue
		}
		// The producer may have written more than was read so far.
		caught, cancel := context.WithTimeout(ctx, quiet)
		err := s.reader.catchUp(caught)
		cancel()
		if err != nil {
			return err
		}
		if now.balance = s.reader.ledger.Balance(); len(now.balance.Missing) == 0 {
			now.elapsed = time.Since(start)
			now.gauges = s.consumerGauges(ctx, now.gauges)
			d.finish(now)
			return nil
		}
	}
}

// consumerGauges reads the consumer's metrics; while they cannot be had, the last ones hold.
func (s *session) consumerGauges(ctx context.Context, last gauges) gauges {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found, err := scrape(ctx, s.address[consumer])
	if err != nil {
		return last
	}
	return found.gauges()
}

// awaitMonitor gives the monitor the time to read the last dead letters, so that its summary has
// all of them.
func (s *session) awaitMonitor(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	want := float64(s.reader.ledger.Balance().DeadLettered)
	for ctx.Err() == nil {
		if found, err := scrape(ctx, s.address[monitor]); err == nil && found.sum(metricReceived) >= want {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(look):
		}
	}
}
