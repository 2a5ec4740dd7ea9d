package kafkatransactional

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

const (
	paceTimeout  = 10 * time.Second
	paceInterval = 500 * time.Millisecond
	paceMost     = 8000
)

// step is a pipeline of one thread, which works on one batch after the other.
type step struct{ each, batch time.Duration }

// round fills the pipeline with as many orders as may be in it, in up to 8 batches, and answers
// them. It returns how long the last answer took.
func (s step) round(p *pace, now time.Time) time.Duration {
	limit := p.bound()
	size := max(1, limit/8)
	var took time.Duration
	for left := limit; left > 0; left -= size {
		n := min(size, left)
		took += s.batch + time.Duration(n)*s.each
		p.answered(now, now.Add(took), limit-left+n, n == size)
	}
	return took
}

func TestTheBoundFollowsWhatThePipelineCanDo(t *testing.T) {
	for name, c := range map[string]struct {
		step        step
		least, most int
	}{
		"fast":                           {step{each: 10 * time.Microsecond}, paceMost, paceMost},
		"30 ms an order":                 {step{each: 30 * time.Millisecond}, 40, 80},
		"100 ms an order":                {step{each: 100 * time.Millisecond}, 8, 16},
		"2 s an order":                   {step{each: 2 * time.Second}, 1, 1},
		"20 ms a batch of whatever size": {step{batch: 20 * time.Millisecond}, paceMost, paceMost},
		"200 ms a batch":                 {step{batch: 200 * time.Millisecond}, paceMost, paceMost},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPace(paceTimeout, paceInterval, paceMost)
			now := time.Unix(0, 0)
			for range 30 {
				now = now.Add(c.step.round(p, now) + time.Second)
			}
			require.GreaterOrEqual(t, p.bound(), c.least)
			require.LessOrEqual(t, p.bound(), c.most)
		})
	}
}

func TestTheBoundDoesNotGrowByWhatDoesNotFillIt(t *testing.T) {
	p := newPace(paceTimeout, paceInterval, paceMost)
	now := time.Unix(0, 0)
	for range 1000 {
		now = now.Add(time.Second)
		p.answered(now, now.Add(time.Millisecond), 1, false)
	}
	require.Equal(t, firstOrders, p.bound())
}

func TestATimeOutShrinksTheBound(t *testing.T) {
	p := newPace(paceTimeout, paceInterval, paceMost)
	p.limit = paceMost
	var bounds []int
	for range 6 {
		p.timedOut(time.Unix(0, 0))
		bounds = append(bounds, p.bound())
	}
	require.Equal(t, []int{1000, 125, 15, 1, 1, 1}, bounds)
}

// However the pipeline's speed changes, the bound comes back to what a transaction can hold, and
// it is never less than one order.
func TestATransactionFitsSoonAgainWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPace(paceTimeout, paceInterval, paceMost)
		now := time.Unix(0, 0)
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			s := step{
				each:  time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "each")),
				batch: time.Duration(rapid.Int64Range(0, int64(200*time.Millisecond)).Draw(t, "batch")),
			}
			late := 0
			for range 40 {
				took := s.round(p, now)
				now = now.Add(took + time.Second)
				if took+paceInterval > paceTimeout {
					late++
					p.timedOut(now)
				}
				require.Positive(t, p.bound())
				require.LessOrEqual(t, p.bound(), paceMost)
			}
			require.LessOrEqual(t, late, 6, "transactions that took too long")
			require.LessOrEqual(t, s.round(p, now)+paceInterval, paceTimeout)
			now = now.Add(time.Minute)
		}
	})
}

// The broker ends a transaction after 10 s: with all that fits into the pipeline it would last for
// two minutes.
func TestASlowStepUnderABacklogCommitsSteadily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 12_000)
		w.slowEach(30 * time.Millisecond)
		commits := w.commits()
		r := w.start(0, "")
		for range 4 {
			before := commits.Load()
			time.Sleep(10 * time.Second)
			require.Greater(t, commits.Load(), before, "commits within 10 s")
		}
		time.Sleep(time.Minute)
		w.stop(r)
		w.once(12_000)
		require.Zero(t, w.gauges.aborted.Load())
		require.EqualValues(t, 12_000, w.written.Load(), "no order passed the slow step twice")
	})
}

// What is in the pipeline when it becomes slow takes too long; what comes after does not.
func TestAStepThatBecomesSlowCostsAFewTransactionsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 6000)
		w.slowEach(time.Millisecond)
		r := w.start(0, "commit_interval: 100ms")
		time.Sleep(300 * time.Millisecond)
		w.slowEach(100 * time.Millisecond)
		time.Sleep(10 * time.Minute)
		w.stop(r)
		w.once(6000)
		require.Positive(t, w.gauges.aborted.Load())
		require.LessOrEqual(t, w.gauges.aborted.Load(), int64(3))
		require.Contains(t, w.log.String(), "the pipeline took ")
		require.Contains(t, w.log.String(), "and the broker ends one after transaction_timeout (10s)")
		require.NotContains(t, w.log.String(), "instance_id")
	})
}

// Where one order takes longer than a transaction may last, no bound helps: that has to be seen.
func TestAnInputThatCommitsNothingIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 3)
		in := w.disconnected(service.MockResources())
		ctx := t.Context()
		connect := func() error {
			for {
				if err := in.Connect(ctx); err != nil || in.client != nil {
					return err
				}
			}
		}
		// read hands out orders and answers them after a time.
		read := func(takes time.Duration) {
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, ack, err := in.ReadBatch(short)
			if err == nil {
				in.client.produce(ctx, &kgo.Record{Topic: "processed"})
				time.AfterFunc(takes, func() { _ = ack(ctx, nil) })
			}
		}
		require.NoError(t, connect())
		time.Sleep(time.Second)
		var failed error
		for range 200 {
			read(15 * time.Second)
			if _, stuck := in.pace.stuck(); stuck && in.client != nil && in.client.busy() {
				_, _, err := in.ReadBatch(ctx)
				require.ErrorIs(t, err, service.ErrNotConnected)
				begun := time.Now()
				failed = in.Connect(ctx)
				require.GreaterOrEqual(t, time.Since(begun), 10*time.Second, "it is not ready until the transaction has ended")
				break
			}
			_ = connect()
			time.Sleep(time.Second)
		}
		require.ErrorContains(t, failed, "nothing was committed in the last 4 transactions: ")
		require.ErrorContains(t, failed, "and the broker ends one after transaction_timeout (10s)")

		// It gets well by itself.
		for range 60 {
			_ = connect()
			read(time.Millisecond)
			time.Sleep(time.Second)
		}
		_, stuck := in.pace.stuck()
		require.False(t, stuck)
		require.NoError(t, in.Close(ctx))
	})
}
