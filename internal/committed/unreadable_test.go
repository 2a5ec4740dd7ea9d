package committed_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
)

// bomb writes a batch of records that is larger than may be read, and small on the wire.
func (w *world) bomb(records int) {
	cl, err := kgo.NewClient(append(w.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(100<<20), kgo.MaxBufferedRecords(1000))...)
	require.NoError(w.t, err)
	defer cl.Close()
	var recs []*kgo.Record
	for range records {
		recs = append(recs, &kgo.Record{Topic: "t", Value: bytes.Repeat([]byte("0"), committed.MaxBatchBytes/records+1)})
	}
	require.NoError(w.t, cl.ProduceSync(w.t.Context(), recs...).FirstErr())
}

func TestABatchThatIsTooLargeIsPassed(t *testing.T) {
	w := start(t)
	w.write(w.commit, "a") // 0, and a marker
	w.bomb(1)              // 2
	w.write(w.commit, "b") // 3, and a marker
	w.bomb(3)              // 5 to 7
	for _, c := range []struct {
		name string
		from int64
		to   int64
		want []string
	}{
		{"all", 0, 8, []string{"0 a", "2 to 3", "3 b", "5 to 8"}},
		{"up to the middle of one", 0, 6, []string{"0 a", "2 to 3", "3 b", "5 to 6"}},
		{"from the middle of one", 6, 8, []string{"6 to 8"}},
		{"behind one", 3, 5, []string{"3 b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			ranges := map[int32]committed.Range{0: {From: c.from, To: c.to}}
			_, err := committed.Read(t.Context(), w.opts, "t", ranges, func(rec *kgo.Record) error {
				if next, err := committed.Unreadable(rec); err != nil {
					require.ErrorContains(t, err, fmt.Sprintf("records t/0/%d to %d are in one batch of more than 64 MiB", rec.Offset, next-1))
					got = append(got, fmt.Sprintf("%d to %d", rec.Offset, next))
				} else {
					got = append(got, fmt.Sprintf("%d %s", rec.Offset, rec.Value))
				}
				return nil
			})
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestAReaderSeeks(t *testing.T) {
	w := start(t)
	w.write(w.commit, "a", "b", "c", "d")
	r, err := committed.NewReader(w.opts, "t", nil)
	require.NoError(t, err)
	defer r.Close()
	require.True(t, r.Done())
	for _, at := range []int64{2, 0, 3, 1, 1} {
		require.NoError(t, r.Seek(map[int32]committed.Range{0: {From: at, To: at + 1}}))
		var got []string
		for !r.Done() {
			recs, err := r.Poll(t.Context(), 0)
			require.NoError(t, err)
			for _, rec := range recs {
				got = append(got, string(rec.Value))
			}
		}
		require.Equal(t, []string{string("abcd"[at])}, got)
	}
}
