package kafkatransactional

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
)

// corrupt writes a record to partition 1 of the state topic, and returns its place.
func (w *world) corrupt(key, value string) string {
	w.t.Helper()
	rec := &kgo.Record{Topic: "state", Partition: 1, Key: []byte(key), Value: []byte(value)}
	require.NoError(w.t, w.cl.ProduceSync(w.t.Context(), rec).FirstErr())
	return fmt.Sprintf("state/1/%d", rec.Offset)
}

// flowing returns which partitions have processed records of n orders each.
func (w *world) flowing(n int) (all []int) {
	by := map[int]int{}
	for origin := range w.committed("processed") {
		var p, o int
		_, err := fmt.Sscanf(origin, "orders/%d/%d", &p, &o)
		require.NoError(w.t, err)
		by[p]++
	}
	for p := range partitions {
		if by[p] == n {
			all = append(all, p)
		}
	}
	return all
}

func TestAPartitionWhoseStateCannotBeReadWaitsAndTheOthersGoOn(t *testing.T) {
	for name, c := range map[string]struct{ key, value, want string }{
		"a waiting order that is cut": {"waiting/orders/1/3", "\x01\x00", "decoding waiting order orders/1/3: record ends early"},
		"one of a later version":      {"waiting/orders/1/3", "\x09", "decoding waiting order orders/1/3: unknown version"},
		"a ledger that is cut":        {"ledger/orders/1", `{"group":`, "decoding ledger: unexpected end of JSON input"},
		"a kind of a later version":   {"window/orders/1/2026", "x", `parsing state key "window/orders/1/2026": unknown kind or wrong number of parts`},
		"a key of a later version":    {"waiting/orders/1/3/2", "x", `parsing state key "waiting/orders/1/3/2": unknown kind or wrong number of parts`},
		"an aggregate that is none":   {"", "no aggregate", "decoding aggregate "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 90)
				r := w.start(1, "")
				time.Sleep(settle)
				w.stop(r)
				w.once(90)
				key := c.key
				if key == "" {
					keys := w.state("aggregate")
					i := slices.IndexFunc(keys, func(k string) bool { return strings.HasPrefix(k, "aggregate/orders/1/") })
					key = keys[i]
				}
				place := w.corrupt(key, c.value)
				written := func() (n int) {
					for _, rec := range w.records("state") {
						if strings.Contains(string(rec.Key), "/orders/1") {
							n++
						}
					}
					return n
				}
				before := written()

				w.produce(90, 90)
				r = w.start(1, "")
				time.Sleep(2 * settle)
				require.Equal(t, []int{0, 2}, w.flowing(60))
				require.Equal(t, []int{1}, w.flowing(30))
				require.Equal(t, before, written(), "nothing is written of what could not be read")
				require.Equal(t, 1, w.log.says("Partition orders/1 waits, since its state cannot be read: state/1 at offset "+strings.TrimPrefix(place, "state/1/")))
				require.Contains(t, w.log.text.String(), strings.ReplaceAll(c.want, `"`, `\"`))
				require.Contains(t, w.log.text.String(), "add "+place+" to skip_unreadable_state")
				w.stop(r)

				r = w.start(1, "skip_unreadable_state: [ 'state/0/999999', "+place+" ]")
				time.Sleep(settle)
				require.Equal(t, []int{0, 1, 2}, w.flowing(60))
				w.stop(r)
				require.Equal(t, 1, w.log.says("Skipped in the state topic, as skip_unreadable_state says: "))

				// What was skipped is replaced, so that the field is needed once.
				w.produce(180, 90)
				r = w.start(1, "")
				time.Sleep(settle)
				w.stop(r)
				w.once(270)
				require.Equal(t, 1, w.log.says("waits, since its state cannot be read"))
			})
		})
	}
}

// Nobody knows what is in it, and no later record replaces it.
func TestABatchOfStateThatIsTooLargeStopsItsPartitionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90)
		r := w.start(1, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(90)
		cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(100<<20))
		require.NoError(t, err)
		defer cl.Close()
		rec := &kgo.Record{Topic: "state", Partition: 1, Key: []byte("waiting/orders/1/3"), Value: bytes.Repeat([]byte("0"), committed.MaxBatchBytes+1)}
		require.NoError(t, cl.ProduceSync(t.Context(), rec).FirstErr())
		place := fmt.Sprintf("state/1/%d", rec.Offset)
		tooLarge := fmt.Sprintf("state/1 at offset %d: records %s to %d are in one batch of more than 64 MiB without its compression: they are not read", rec.Offset, place, rec.Offset)
		w.corrupt("ledger/orders/1", "{") // behind it is read on

		err = ReadState(t.Context(), []kgo.Opt{kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext)}, "state", func(k StateKey, value []byte) error {
			if k.Kind == KindLedger {
				_, err := DecodeLedger(value)
				return err
			}
			return nil
		})
		require.EqualError(t, err, fmt.Sprintf("reading state: state that cannot be read: %s; state/1 at offset %d: decoding ledger: unexpected end of JSON input", tooLarge, rec.Offset+1))
		var unreadable *UnreadableError
		require.ErrorAs(t, err, &unreadable)
		topic, partition := unreadable.Records[0].Source()
		require.Empty(t, topic)
		require.Equal(t, int32(1), partition)

		w.produce(90, 90)
		r = w.start(1, "")
		time.Sleep(2 * settle)
		require.Equal(t, []int{0, 2}, w.flowing(60))
		require.Equal(t, []int{1}, w.flowing(30))
		require.Equal(t, 1, w.log.says("Partition orders/1 waits, since its state cannot be read: "+tooLarge))
		require.Contains(t, w.log.text.String(), "add "+place+" to skip_unreadable_state")
		w.stop(r)

		r = w.start(1, fmt.Sprintf("skip_unreadable_state: [ %s, state/1/%d ]", place, rec.Offset+1))
		time.Sleep(settle)
		w.stop(r)
		require.Equal(t, 1, w.log.says("Skipped in the state topic, as skip_unreadable_state says: "+tooLarge))

		w.produce(180, 90)
		r = w.start(1, "skip_unreadable_state: [ "+place+" ]")
		time.Sleep(settle)
		w.stop(r)
		w.once(270)
		require.Equal(t, 2, w.log.says("Skipped in the state topic, as skip_unreadable_state says: "+tooLarge), "it stays to be skipped")
	})
}

// For instance an order that was sent to the state topic.
func TestWhatNoVersionHasWrittenToTheStateTopicIsIgnored(t *testing.T) {
	for name, c := range map[string]struct{ key, want string }{
		"an order":                   {"order-17", `parsing state key \"order-17\": want KIND/TOPIC/PARTITION`},
		"a partition that is none":   {"waiting/orders/x/1", `partition \"x\" is no number`},
		"state of another partition": {"ledger/orders/0", `the key \"ledger/orders/0\" is one of partition 0`},
		"a later kind, out of place": {"window/orders/0/2026", "unknown kind"},
		"a kind that is none":        {"\x1b[2J/orders/1", `\"\\x1b[2J/orders/1\": unknown kind`},
		"a topic that is none":       {"window/or ders/1", "unknown kind"},
		"a very long key":            {strings.Repeat("x", 100_000), strings.Repeat("x", 200) + `\": want`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				place := w.corrupt(c.key, "junk")
				w.corrupt(c.key+"?", "junk")
				require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "state", Partition: 1, Key: []byte(c.key + "?")}).FirstErr())
				w.produce(0, 90)
				r := w.start(1, "")
				time.Sleep(settle)
				w.stop(r)
				w.once(90)
				require.Equal(t, 1, w.log.says("Ignored in the state topic, since no version of this program writes such records: state/1 at offset "+strings.TrimPrefix(place, "state/1/")+": "))
				require.Equal(t, 1, w.log.says("Ignored in the state topic"), "a tombstone ends it")
				require.Contains(t, w.log.text.String(), c.want)
			})
		})
	}
}

// A later record under the same key counts, whatever the one before held.
func TestWhatWasReplacedNeedNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.corrupt("ledger/orders/1", "{")
		w.corrupt("ledger/orders/1", `{"group":"g","start":0,"next":0}`)
		w.corrupt("waiting/orders/1/4", "\x09")
		require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "state", Partition: 1, Key: []byte("waiting/orders/1/4")}).FirstErr())
		w.produce(0, 90)
		r := w.start(1, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(90)
		require.Zero(t, w.log.says("level=ERROR"))
	})
}

func TestReadStateNamesWhatItCannotReadAndReadsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.corrupt("junk", "junk")
		w.corrupt("window/orders/1", "x")
		for i := range maxNamed + 2 {
			w.corrupt(fmt.Sprintf("waiting/orders/1/%d", i), "bad")
		}
		w.corrupt("ledger/orders/1", `{"group":"g"}`)
		var kinds []string
		err := ReadState(t.Context(), []kgo.Opt{kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext)}, "state", func(k StateKey, value []byte) error {
			if k.Kind == KindWaiting {
				return fmt.Errorf("it is %s", value)
			}
			kinds = append(kinds, k.Kind)
			return nil
		})
		require.Equal(t, []string{KindLedger}, kinds)
		require.ErrorContains(t, err, `reading state: state that cannot be read: state/1 at offset 1: parsing state key "window/orders/1": unknown kind or wrong number of parts; state/1 at offset 2: it is bad; `)
		require.ErrorContains(t, err, "; and 3 more")
		var unreadable *UnreadableError
		require.ErrorAs(t, err, &unreadable)
		require.Len(t, unreadable.Records, maxNamed+3)
	})
}

func TestAPlaceToSkipIsOneOfTheStateTopic(t *testing.T) {
	for place, ok := range map[string]bool{
		"state/3/17": true, "other/3/17": false, "state/3": false, "state/x/1": false, "state/3/17/1": false, "state/03/17": false, "state/-1/17": false, "17": false,
	} {
		pc, err := inputSpec().ParseYAML("seed_brokers: [a]\ntopics: [orders]\nconsumer_group: g\nstate_topic: state\nskip_unreadable_state: [ '"+place+"' ]", nil)
		require.NoError(t, err)
		_, err = parseConfig(pc)
		if ok {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, fmt.Sprintf("field skip_unreadable_state: %q: want a place in the state topic, such as state/3/1234", place))
	}
}
