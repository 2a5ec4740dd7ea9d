package kafkatransactional

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/session"
)

func TestStateKeysAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := StateKey{
			Kind:      rapid.SampledFrom([]string{KindWaiting, KindBlocked, KindAggregate, KindLedger}).Draw(t, "kind"),
			Topic:     rapid.StringMatching(`[a-zA-Z0-9._-]{1,20}`).Draw(t, "topic"),
			Partition: rapid.Int32Min(0).Draw(t, "partition"),
		}
		switch k.Kind {
		case KindWaiting:
			k.Offset = rapid.Int64Min(0).Draw(t, "offset")
		case KindBlocked:
			k.Key = rapid.String().Draw(t, "key")
		case KindAggregate:
			k.Name, k.Group = rapid.String().Draw(t, "name"), rapid.String().Draw(t, "group")
		}
		got, err := ParseStateKey(k.append(nil))
		if err != nil || got != k {
			t.Fatalf("%+v became %+v, %v", k, got, err)
		}
	})
}

func TestWaitingOrdersAreReadAsTheyWereWritten(t *testing.T) {
	bytes := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOf(rapid.Byte()))
	rapid.Check(t, func(t *rapid.T) {
		k := StateKey{Kind: KindWaiting, Topic: "orders", Partition: 2, Offset: 9}
		w := &waiting{
			rec: &kgo.Record{
				Topic: k.Topic, Partition: k.Partition, Offset: k.Offset,
				Timestamp: time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "timestamp")),
				Key:       bytes.Draw(t, "key"), Value: bytes.Draw(t, "value"),
			},
			refused: rapid.IntRange(0, 100).Draw(t, "refused"),
			due:     time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "due")),
			hist:    session.History{Text: rapid.String().Draw(t, "text"), Class: "transient", Attempts: []time.Time{time.UnixMilli(5).UTC()}},
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			w.rec.Headers = append(w.rec.Headers, kgo.RecordHeader{Key: rapid.String().Draw(t, "name"), Value: bytes.Draw(t, "header")})
		}
		b, err := appendWaiting(nil, w, 1<<20)
		require.NoError(t, err)
		got, err := decodeWaiting(k, b)
		require.NoError(t, err)
		w.stored = true
		require.Equal(t, w.keep(w.rec, false), got)
	})
}

// A broken record must be an error, and must not take more memory than it has bytes.
func FuzzDecodeWaiting(f *testing.F) {
	w := &waiting{rec: &kgo.Record{Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h"}}, Timestamp: time.UnixMilli(1)}}
	b, err := appendWaiting(nil, w, 1<<20)
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte{waitingWhole, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := decodeWaiting(StateKey{Topic: "t"}, b)
		if err != nil {
			return
		}
		again, err := appendWaiting(nil, w, mostOf(w))
		require.NoError(t, err)
		twice, err := decodeWaiting(StateKey{Topic: "t"}, again)
		require.NoError(t, err)
		require.Equal(t, w, twice)
	})
}

func FuzzParseStateKey(f *testing.F) {
	f.Add([]byte("waiting/orders/3/12"))
	f.Add([]byte("aggregate/orders/0/a%2Fb/c/d"))
	f.Add([]byte("ledger/orders/1"))
	f.Add([]byte("blocked/orders/1/a%2F%FF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseStateKey(b)
		if err != nil {
			return
		}
		again, err := ParseStateKey(k.append(nil))
		require.NoError(t, err)
		require.Equal(t, k, again)
	})
}

// The size is what a broker compares with max.message.bytes; the figures are those of batches
// that Apache Kafka has taken and refused.
func TestTheSizeOfARecordIsThatOfItsBatch(t *testing.T) {
	for _, c := range []struct {
		rec  kgo.Record
		want int
	}{
		{kgo.Record{}, 61 + 1 + 6},
		{kgo.Record{Key: []byte("k"), Value: []byte("value")}, 61 + 1 + 3 + 2 + 6 + 1},
		{kgo.Record{Value: make([]byte, 100), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "n"}}}, 61 + 2 + 3 + 1 + 102 + 1 + 4 + 3},
	} {
		require.Equal(t, c.want, batchSize(&c.rec))
	}
}
