package committed_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
)

type world struct {
	t    *testing.T
	opts []kgo.Opt
	cl   *kgo.Client
	adm  *kadm.Client
}

// start makes a broker with the topic "t" of two partitions.
func start(t *testing.T) *world {
	w, stop := startOn(t, kfake.ListenFn(net.Listen))
	t.Cleanup(stop)
	return w
}

// startOn is start with an option for the broker, and others for its clients.
func startOn(t *testing.T, broker kfake.Opt, clients ...kgo.Opt) (w *world, stop func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "t"), broker)
	require.NoError(t, err)
	w = &world{t: t, opts: append(clients, kgo.SeedBrokers(cluster.ListenAddrs()...))}
	w.cl, err = kgo.NewClient(append(w.opts, kgo.TransactionalID("writer"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	w.adm = kadm.NewClient(w.cl)
	return w, func() {
		w.cl.Close()
		cluster.Close()
	}
}

// write produces values to partition 0 in a transaction that end ends, or leaves open.
func (w *world) write(end func() error, values ...string) {
	require.NoError(w.t, w.cl.BeginTransaction())
	for _, v := range values {
		require.NoError(w.t, w.cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: "t", Value: []byte(v)}).FirstErr())
	}
	if end != nil {
		require.NoError(w.t, end())
	}
}

func (w *world) commit() error { return w.cl.EndTransaction(w.t.Context(), kgo.TryCommit) }
func (w *world) abort() error  { return w.cl.EndTransaction(w.t.Context(), kgo.TryAbort) }

func (w *world) read(ranges map[int32]committed.Range) (values []string) {
	n, err := committed.Read(w.t.Context(), w.opts, "t", ranges, func(rec *kgo.Record) error {
		values = append(values, string(rec.Value))
		return nil
	})
	require.NoError(w.t, err)
	require.Len(w.t, values, int(n))
	return values
}

func TestReadsWhatIsCommittedAndNothingElse(t *testing.T) {
	w := start(t)
	w.write(w.commit, "a", "b")
	w.write(w.abort, "aborted")
	w.write(w.commit, "c")
	w.write(nil, "open")

	stable, err := committed.Stable(t.Context(), w.adm, "t")
	require.NoError(t, err)
	require.Len(t, stable, 2, "the empty partition is there too")
	require.Equal(t, []string{"a", "b", "c"}, w.read(stable))

	all, err := committed.All(t.Context(), w.adm, "t", 0)
	require.NoError(t, err)
	require.Equal(t, map[int32]committed.Range{0: {From: 0, To: stable[0].To + 1}}, all, "the record of the open transaction")
}

func TestReadsAPartOfAPartition(t *testing.T) {
	w := start(t)
	w.write(w.commit, "a", "b", "c", "d")
	require.Equal(t, []string{"b", "c"}, w.read(map[int32]committed.Range{0: {From: 1, To: 3}}))
	require.Empty(t, w.read(map[int32]committed.Range{0: {From: 2, To: 2}, 1: {}}))
}

// The record before the end may be missing, since it was aborted or compacted; the next one that
// is there lies beyond the end.
func TestAnEndThatIsNotThereIsNotPassed(t *testing.T) {
	w := start(t)
	w.write(w.commit, "a")
	other, err := kgo.NewClient(append(w.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	defer other.Close()
	w.write(func() error {
		require.NoError(t, other.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("beyond")}).FirstErr())
		return w.abort()
	}, "aborted")
	require.Equal(t, []string{"a"}, w.read(map[int32]committed.Range{0: {To: 3}}))
	require.Equal(t, []string{"a", "beyond"}, w.read(map[int32]committed.Range{0: {To: 4}}))
}

func TestReadingToTheHighWatermarkWaitsForTheOpenTransaction(t *testing.T) {
	w := start(t)
	w.write(nil, "late")
	all, err := committed.All(t.Context(), w.adm, "t")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = committed.Read(ctx, w.opts, "t", all, func(*kgo.Record) error { return nil })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, w.commit())
	require.Equal(t, []string{"late"}, w.read(all))
}

// The offsets were listed before; what they name is gone when it is to be read.
func TestWhatRetentionDeletesMeanwhileIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		virtual := &kfake.VirtualNetwork{}
		w, stop := startOn(t, kfake.ListenFn(virtual.Listen), kgo.Dialer(virtual.DialContext))
		defer stop()
		w.write(w.commit, "a", "b", "c")
		all, err := committed.All(t.Context(), w.adm, "t")
		require.NoError(t, err)
		deleted := kadm.Offsets{}
		deleted.AddOffset("t", 0, 2, -1)
		_, err = w.adm.DeleteRecords(t.Context(), deleted)
		require.NoError(t, err)
		require.Equal(t, []string{"c"}, w.read(all), "what is left is read")

		deleted.AddOffset("t", 0, all[0].To, -1)
		_, err = w.adm.DeleteRecords(t.Context(), deleted)
		require.NoError(t, err)
		require.Empty(t, w.read(all))
	})
}

func TestAReaderReturnsPiecesAndTellsWhatIsLeft(t *testing.T) {
	w := start(t)
	w.write(w.commit, "a", "b", "c")
	r, err := committed.NewReader(w.opts, "t", map[int32]committed.Range{0: {To: 3}, 1: {}})
	require.NoError(t, err)
	defer r.Close()
	var values []string
	for left := int64(3); left > 0; left-- {
		require.False(t, r.Done())
		require.Equal(t, left, r.Left())
		recs, err := r.Poll(t.Context(), 1)
		require.NoError(t, err)
		require.Len(t, recs, 1)
		values = append(values, string(recs[0].Value))
	}
	require.True(t, r.Done())
	require.Equal(t, []string{"a", "b", "c"}, values)
}

func TestErrorsSayWhere(t *testing.T) {
	w := start(t)
	_, err := committed.Stable(t.Context(), w.adm, "nowhere")
	require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
	require.ErrorContains(t, err, `topic "nowhere" does not exist`)
	_, err = committed.All(t.Context(), w.adm, "t", 7)
	require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
	require.ErrorContains(t, err, `topic "t" has no partition 7`)

	w.write(w.commit, "a")
	own := errors.New("enough")
	n, err := committed.Read(t.Context(), w.opts, "t", map[int32]committed.Range{0: {To: 1}}, func(rec *kgo.Record) error {
		return fmt.Errorf("at %d: %w", rec.Offset, own)
	})
	require.ErrorIs(t, err, own)
	require.Equal(t, int64(1), n)
}
