package metadata

import (
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func metadataOf(t *testing.T, rec *kgo.Record) map[string]any {
	t.Helper()
	msg := service.NewMessage(rec.Value)
	Set(msg, rec, PlaceOf(rec.Topic, rec.Partition), Stamp{}.At(rec.Timestamp))
	all := map[string]any{}
	require.NoError(t, msg.MetaWalkMut(func(name string, value any) error {
		all[name] = value
		return nil
	}))
	return all
}

func TestARecordIsTold(t *testing.T) {
	require.Equal(t, map[string]any{
		"trace": "b", "none": nil, "empty": "", "binary": "\xff\x00",
		"kafka_key": []byte("k"), "kafka_topic": "orders", "kafka_partition": 3, "kafka_offset": 42,
		"kafka_timestamp_unix": int64(1_700_000_000), "kafka_timestamp_ms": int64(1_700_000_000_123), "kafka_tombstone_message": false,
	}, metadataOf(t, &kgo.Record{
		Topic: "orders", Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1_700_000_000_123), Key: []byte("k"), Value: []byte("v"),
		Headers: []kgo.RecordHeader{
			{Key: "trace", Value: []byte("a")}, {Key: "trace", Value: []byte("b")}, {Key: "none"},
			{Key: "empty", Value: []byte{}}, {Key: "binary", Value: []byte{0xff, 0}},
		},
	}))
}

func TestAHeaderCannotPoseAsTheRecord(t *testing.T) {
	plain := &kgo.Record{Topic: "orders", Timestamp: time.UnixMilli(7)}
	forged := &kgo.Record{Topic: "orders", Timestamp: time.UnixMilli(7)}
	want := metadataOf(t, plain)
	require.Equal(t, []byte(nil), want["kafka_key"])
	require.Equal(t, true, want["kafka_tombstone_message"])
	for name := range want {
		forged.Headers = append(forged.Headers, kgo.RecordHeader{Key: name, Value: []byte("forged")})
	}
	require.Equal(t, want, metadataOf(t, forged))
}

func TestAStampIsKeptWhileItIsTheSame(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	first := Stamp{}.At(at)
	require.Zero(t, testing.AllocsPerRun(100, func() { first = first.At(at) }))
	require.Equal(t, Stamp{unix: int64(1_700_000_000), unixMS: int64(1_700_000_000_124)}, first.At(at.Add(time.Millisecond)))
}
