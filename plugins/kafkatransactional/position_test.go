package kafkatransactional

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func TestALedgerTellsWhatIsReadAgainSkippedAndLost(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(*Ledger) (lost Span) // the ledger has read 100 to 200
		want Ledger
		lost Span
	}{
		{"reading on", func(l *Ledger) (lost Span) { l.advance(250); return },
			Ledger{Start: 100, Next: 250}, Span{}},
		{"retention behind the position", func(l *Ledger) (lost Span) { lost = l.lose(200); l.advance(250); return },
			Ledger{Start: 100, Next: 250}, Span{}},
		{"retention beyond the position", func(l *Ledger) (lost Span) { lost = l.lose(230); l.advance(250); return },
			Ledger{Start: 100, Next: 250}, Span{200, 230}},
		{"back, and half of the way again", func(l *Ledger) (lost Span) { l.moveTo(120); l.advance(150); return },
			Ledger{Start: 100, Next: 150, RereadTo: 200}, Span{}},
		{"back, and retention within what was read before", func(l *Ledger) (lost Span) { l.moveTo(120); lost = l.lose(180); l.advance(190); return },
			Ledger{Start: 100, Next: 190, RereadTo: 200}, Span{}},
		{"back and all of the way again", func(l *Ledger) (lost Span) { l.moveTo(120); l.advance(200); return },
			Ledger{Start: 100, Next: 200}, Span{}},
		{"back twice", func(l *Ledger) (lost Span) { l.moveTo(150); l.advance(160); l.moveTo(110); l.advance(120); return },
			Ledger{Start: 100, Next: 120, RereadTo: 200}, Span{}},
		{"back to before the start", func(l *Ledger) (lost Span) { l.moveTo(50); l.advance(60); return },
			Ledger{Start: 50, Next: 60, RereadTo: 200, Skipped: []Span{{60, 100}}}, Span{}},
		{"forwards", func(l *Ledger) (lost Span) { l.moveTo(300); l.advance(310); return },
			Ledger{Start: 100, Next: 310, Skipped: []Span{{200, 300}}}, Span{}},
		{"forwards and back into what was skipped", func(l *Ledger) (lost Span) {
			l.moveTo(300)
			l.advance(310)
			l.moveTo(250)
			l.advance(260)
			return
		}, Ledger{Start: 100, Next: 260, RereadTo: 310, Skipped: []Span{{200, 250}, {260, 300}}}, Span{}},
		{"forwards within what is read again", func(l *Ledger) (lost Span) { l.moveTo(100); l.moveTo(150); l.advance(160); return },
			Ledger{Start: 100, Next: 160, RereadTo: 200}, Span{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Ledger{Start: 100, Next: 200}
			require.Equal(t, c.lost, c.play(&l))
			require.Equal(t, c.want, l)
		})
	}
}

// Whatever an operator does to the offsets, each reading of an order beyond its first is counted,
// and what was never read is what was skipped.
func TestRereadsAndSkippedStretchesAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Ledger{Start: 20, Next: 20}
		read := map[int64]int64{}
		furthest := int64(20)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "reset") {
				if at := rapid.Int64Range(0, 60).Draw(t, "at"); at != l.Next {
					l.moveTo(at)
				}
			} else {
				next := l.Next + rapid.Int64Range(1, 10).Draw(t, "records")
				for offset := l.Next; offset < next; offset++ {
					l.countReread(offset)
					read[offset]++
				}
				l.advance(next)
			}
			furthest = max(furthest, l.Next)
		}
		var again int64
		for _, times := range read {
			again += times - 1
		}
		require.Equal(t, again, l.Reread)
		skipped := map[int64]bool{}
		for _, s := range l.Skipped {
			for offset := s.From; offset < s.To; offset++ {
				skipped[offset] = true
			}
		}
		for offset := l.Start; offset < furthest; offset++ {
			require.Equal(t, read[offset] == 0, skipped[offset], "offset %d of %+v", offset, l)
		}
	})
}

// ledgers adds up what the newest ledgers say.
func (w *world) ledgers() (sum Ledger) {
	latest := map[string]Ledger{}
	for _, rec := range w.records("state") {
		if k, err := ParseStateKey(rec.Key); err == nil && k.Kind == KindLedger {
			l, err := DecodeLedger(rec.Value)
			require.NoError(w.t, err)
			latest[string(rec.Key)] = l
		}
	}
	for _, l := range latest {
		sum.Next += l.Next
		sum.Reread += l.Reread
		sum.Skipped = append(sum.Skipped, l.Skipped...)
	}
	return sum
}

// reset sets the offsets of the group, which has no member.
func (w *world) reset(at int64) {
	var offsets kadm.Offsets
	for partition := range int32(partitions) {
		offsets.Add(kadm.Offset{Topic: "orders", Partition: partition, At: at, LeaderEpoch: -1})
	}
	require.NoError(w.t, kadm.NewClient(w.cl).CommitAllOffsets(w.t.Context(), "g", offsets))
}

func TestAResetBackwardsIsProcessedAgainAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 60)
		r := w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(60)

		w.reset(10) // of 20
		r = w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		require.EqualValues(t, 90, w.total(), "aggregates are of all processed records")
		require.EqualValues(t, 30, w.ledgers().Reread)
		require.EqualValues(t, 60, w.ledgers().Next)
	})
}

func TestAResetForwardsSkipsButNotWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30) // three of them wait
		r := w.start(2, "")
		time.Sleep(700 * time.Millisecond)
		w.stop(r)
		w.produce(30, 30)
		w.reset(20)
		r = w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(30)
		require.Equal(t, []Span{{10, 20}, {10, 20}, {10, 20}}, w.ledgers().Skipped)
	})
}

func TestAGroupThatWasForgottenGoesOnFromItsState(t *testing.T) {
	for _, start := range []string{"latest", "earliest"} {
		t.Run(start, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 30)
				r := w.start(2, "")
				time.Sleep(settle)
				w.stop(r)
				_, err := kadm.NewClient(w.cl).DeleteGroup(t.Context(), "g")
				require.NoError(t, err)
				w.produce(30, 30)
				r = w.start(2, "start_offset: "+start)
				time.Sleep(settle)
				w.stop(r)
				w.once(60)
				for partition := range partitions {
					require.Equal(t, 1, w.log.says(fmt.Sprintf("The group has no committed offset of orders/%d: going on at 10, as its state says", partition)))
				}
			})
		})
	}
}

// With the position deleted, what is left of the topic is read from its beginning, whatever
// start_offset says.
func TestRetentionLosesNoMoreThanItDeletes(t *testing.T) {
	for _, start := range []string{"earliest", "latest", "committed"} {
		t.Run(start, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 30)
				r := w.start(2, "start_offset: earliest")
				time.Sleep(settle)
				w.stop(r)
				w.produce(30, 60)
				var offsets kadm.Offsets
				for partition := range int32(partitions) {
					offsets.Add(kadm.Offset{Topic: "orders", Partition: partition, At: 15, LeaderEpoch: -1})
				}
				_, err := kadm.NewClient(w.cl).DeleteRecords(t.Context(), offsets)
				require.NoError(t, err)
				r = w.start(2, "start_offset: "+start)
				time.Sleep(settle)
				w.stop(r)
				w.once(75)
			})
		})
	}
}

// An offset of a topic that was made again names another record: nothing may be done with it.
func TestATopicThatWasMadeAgainIsNotTakenForTheFormer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		adm := kadm.NewClient(w.cl)
		w.produce(0, 30)
		r := w.start(2, "")
		time.Sleep(700 * time.Millisecond) // three wait
		_, err := adm.DeleteTopic(t.Context(), "orders")
		require.NoError(t, err)
		_, err = adm.CreateTopic(t.Context(), partitions, 1, nil, "orders")
		require.NoError(t, err)
		w.cl.PurgeTopicsFromClient("orders")
		w.produce(0, 15)
		time.Sleep(time.Minute)
		require.Len(t, w.committed("processed"), 27)
		w.stop(r)
		r = w.start(2, "")
		time.Sleep(time.Minute)
		w.stop(r)
		require.Len(t, w.committed("processed"), 27, "nothing of the new topic is read, and what waits stays where it is")
		require.EqualValues(t, 27, w.total())
	})
}

// What a topic takes can be changed while the pipeline runs.
func TestALimitThatIsRaisedIsNoticedAtTheNextTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.limit("3000", "processed", "dlq")
		require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: make([]byte, 4000)}).FirstErr())
		r := w.routed("dlq")
		time.Sleep(5 * time.Second)
		require.Empty(t, w.records("dlq"))
		w.limit("1000000", "dlq")
		time.Sleep(10 * time.Second) // within the minute that limits are believed otherwise
		require.Len(t, w.records("dlq"), 1)
		w.stop(r)
	})
}

// New partitions wait for theirs of the state topic, and hold up no other.
func TestPartitionsThatAreAddedWaitForTheirState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		adm := kadm.NewClient(w.cl)
		w.produce(0, 30)
		r := w.start(2, "metadata_max_age: 2s")
		time.Sleep(settle)
		_, err := adm.CreatePartitions(t.Context(), 1, "orders")
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		w.produce(30, 30)
		cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		require.NoError(t, err)
		defer cl.Close()
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Partition: partitions, Value: []byte("good")}).FirstErr())
		time.Sleep(10 * time.Second)
		w.once(60)
		_, err = adm.CreatePartitions(t.Context(), 2, "state") // one for later
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		w.once(61)
		w.stop(r)
	})
}
