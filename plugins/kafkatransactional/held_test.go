package kafkatransactional

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// holding is a pipeline in which orders die whose value begins with "dead".
const holding = `
http: {enabled: false}
input:
  kafka_transactional:
    seed_brokers: [%s]
    topics: [orders]
    consumer_group: g
    state_topic: state
    session_timeout: 6s
    client_id: %s
    ordering: key
    %s
pipeline:
  threads: 2
  processors:
    - flaky: {failures: 2, wait: 1s}
output:
  picky:
    output:
      switch:
        cases:
          - check: content().string().has_prefix("dead")
            output:
              kafka_transactional:
                topic: dlq
                outcome: dead_letter
                original_headers: true
          - output:
              kafka_transactional:
                topic: processed
                headers:
                  origin: ${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }
`

const holdKey = "on_dead_letter: hold_key"

func (w *world) hold(fields string) *running {
	return w.run(func(id string) string {
		return fmt.Sprintf(holding, strings.Join(w.cluster.ListenAddrs(), ","), id, fields)
	})
}

// send writes an order to partition 1 and returns its dlq_id.
func (w *world) send(key, value string, headers ...kgo.RecordHeader) string {
	w.t.Helper()
	rec := &kgo.Record{Topic: "orders", Partition: 1, Value: []byte(value), Headers: headers}
	if key != "" {
		rec.Key = []byte(key)
	}
	require.NoError(w.t, w.cl.ProduceSync(w.t.Context(), rec).FirstErr())
	return fmt.Sprintf("orders/1/%d", rec.Offset)
}

// redrive sends an order again as a redrive does.
func (w *world) redrive(key, id, value string) {
	w.t.Helper()
	w.send(key, value, kgo.RecordHeader{Key: "dlq_id", Value: []byte(id)}, kgo.RecordHeader{Key: "dlq_redrives", Value: []byte("1")})
}

// outcomes returns the values of a key in a topic, as a committed reader sees them.
func (w *world) outcomes(topic, key string) []string {
	var values []string
	for _, rec := range w.records(topic) {
		if string(rec.Key) == key {
			values = append(values, string(rec.Value))
		}
	}
	return values
}

// state returns the keys of the records of a kind that the state topic holds.
func (w *world) state(kind string) []string {
	live := map[string]bool{}
	for _, rec := range w.records("state") {
		live[string(rec.Key)] = rec.Value != nil
	}
	var keys []string
	for key, on := range live {
		if on && strings.HasPrefix(key, kind+"/") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func TestLaterOrdersOfAKeyWaitUntilItsDeadOneWasMended(t *testing.T) {
	for _, c := range []struct {
		name  string
		pause func(*world, *running) *running // before each step
	}{
		{"in one life", func(_ *world, r *running) *running { return r }},
		{"across restarts", func(w *world, r *running) *running {
			w.stop(r)
			return w.hold(holdKey)
		}},
		{"while the partition moves to another instance", func(w *world, r *running) *running {
			other := w.hold(holdKey)
			time.Sleep(settle)
			w.stop(r)
			return other
		}},
		{"across a crash", func(w *world, r *running) *running {
			r.link.Cut()
			other := w.hold(holdKey)
			w.stop(r)
			return other
		}},
		{"while transactions abort", func(w *world, r *running) *running {
			w.reject(0.3, 7)
			return r
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				id := w.send("a", "dead-1")
				w.send("a", "good-2")
				w.send("b", "good-3")
				w.send("a", "bad-4")
				w.send("", "dead-5")
				w.send("", "good-6")
				r := w.hold(holdKey)
				step := func() {
					time.Sleep(settle)
					r = c.pause(w, r)
					time.Sleep(settle)
				}
				step()
				require.Empty(t, w.outcomes("processed", "a"))
				require.Equal(t, []string{"good-3"}, w.outcomes("processed", "b"), "another key is free")
				require.Equal(t, []string{"good-6"}, w.outcomes("processed", ""), "orders without a key are free")
				require.Equal(t, []string{"waiting/orders/1/1", "waiting/orders/1/3"}, w.state(KindWaiting))
				require.Equal(t, []string{"blocked/orders/1/a"}, w.state(KindBlocked))

				w.redrive("a", id, "dead-1, mended badly")
				w.send("a", "good-7")
				step()
				require.Empty(t, w.outcomes("processed", "a"), "the one that was redriven died again")
				require.Equal(t, []string{"dead-1", "dead-1, mended badly"}, w.outcomes("dlq", "a"))

				w.redrive("a", id, "bad-1, mended")
				time.Sleep(1500 * time.Millisecond) // it waits for its second retry
				r = c.pause(w, r)
				time.Sleep(2 * settle)
				require.Equal(t, []string{"bad-1, mended", "good-2", "bad-4", "good-7"}, w.outcomes("processed", "a"))
				require.Empty(t, w.state(KindWaiting))
				require.Empty(t, w.state(KindBlocked))
				w.reject(0, 7)
				w.stop(r)
				w.once(6)
				require.Len(t, w.records("dlq"), 3)
			})
		})
	}
}

// What one redrive mends may show that a later order of the key is dead as well.
func TestAKeyIsBlockedAgainByTheNextOfItsOrdersThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		first := w.send("a", "dead-1")
		second := w.send("a", "dead-2")
		w.send("a", "good-3")
		r := w.hold(holdKey)
		time.Sleep(settle)
		// The second has not died yet, so that a redrive of it is nothing that the key waits for.
		require.Equal(t, []string{"dead-1"}, w.outcomes("dlq", "a"))
		w.redrive("a", first, "good-1")
		time.Sleep(settle)
		require.Equal(t, []string{"good-1"}, w.outcomes("processed", "a"))
		require.Equal(t, []string{"dead-1", "dead-2"}, w.outcomes("dlq", "a"))
		w.redrive("a", first, "good-1, once more")
		time.Sleep(settle)
		require.Equal(t, []string{"good-1"}, w.outcomes("processed", "a"))
		w.redrive("a", second, "good-2")
		time.Sleep(settle)
		w.stop(r)
		require.Equal(t, []string{"good-1", "good-2", "good-3", "good-1, once more"}, w.outcomes("processed", "a"))
	})
}

func TestARestartThatLetsKeysContinueReleasesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.send("a", "dead-1")
		w.send("b", "dead-2") // nothing is held behind it
		w.send("a", "good-3")
		r := w.hold(holdKey)
		time.Sleep(settle)
		w.stop(r)
		require.Equal(t, []string{"blocked/orders/1/a", "blocked/orders/1/b"}, w.state(KindBlocked))
		require.Empty(t, w.outcomes("processed", "a"))

		w.send("a", "dead-4")
		w.send("a", "good-5")
		r = w.hold("on_dead_letter: continue")
		time.Sleep(settle)
		w.stop(r)
		require.Equal(t, []string{"good-3", "good-5"}, w.outcomes("processed", "a"))
		require.Equal(t, []string{"dead-1", "dead-4"}, w.outcomes("dlq", "a"))
		require.Empty(t, w.state(KindBlocked))
		w.once(2)
	})
}

// Nothing but the release has changed in this partition, and yet it is committed.
func TestARestartReleasesKeysThatHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.send("a", "dead-1")
		for _, c := range []struct {
			fields  string
			blocked int64
		}{{holdKey, 1}, {holdKey, 1}, {"", 0}, {holdKey, 0}} {
			w.gauges.blocked.Store(-1)
			r := w.hold(c.fields)
			time.Sleep(settle)
			w.stop(r)
			require.Len(t, w.state(KindBlocked), int(c.blocked))
			require.Equal(t, c.blocked, w.gauges.blocked.Load())
		}
	})
}

// With more held than may wait, the redriven order could never be read.
func TestAKeyThatHoldsMoreThanMayWaitIsGivenUpAndStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		quiet := w.send("quiet", "dead-0")
		w.send("quiet", "good-1")
		hot := w.send("hot", "dead-0")
		var want []string
		for i := range 60 {
			want = append(want, fmt.Sprintf("good-%d", i+1))
			w.send("hot", want[i])
		}
		w.send("other", "good-0")
		w.redrive("hot", hot, "good-61")
		w.redrive("quiet", quiet, "good-0")
		r := w.hold(holdKey + "\n    max_waiting: 20\n    batch_size: 5")
		time.Sleep(4 * settle)
		w.stop(r)
		require.Equal(t, []string{"good-0"}, w.outcomes("processed", "other"))
		require.Equal(t, append(want, "good-61"), w.outcomes("processed", "hot"), "it was given up, in order")
		require.Equal(t, []string{"good-0", "good-1"}, w.outcomes("processed", "quiet"), "it was not")
		require.Equal(t, int64(1), w.gauges.givenUp.Load())
		require.Empty(t, w.state(KindBlocked))
		w.once(64)
	})
}

func TestARestartWithLessRoomGivesKeysUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.send("a", "dead-0")
		for i := range 10 {
			w.send("a", fmt.Sprintf("good-%d", i))
		}
		r := w.hold(holdKey + "\n    max_waiting: 22") // half of it is just enough
		time.Sleep(settle)
		w.stop(r)
		require.Len(t, w.state(KindWaiting), 10)
		r = w.hold(holdKey + "\n    max_waiting: 21")
		time.Sleep(settle)
		w.stop(r)
		require.Empty(t, w.state(KindWaiting))
		w.once(10)
	})
}
