package clients

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/kafka"
)

func TestThePythonClientReadsWhatItWrote(t *testing.T) {
	cluster := kafka.Start(t, kafka.Options{})
	cluster.CreateTopic("orders", 3, map[string]string{"max.message.bytes": "1048588"})
	brokers := strings.Join(cluster.Addresses(), ",")
	written := Produce(t, "odd", "--brokers", brokers, "--topic", "orders", "--schema-id", "1")

	found := map[string]Record{}
	for _, r := range Read(t, brokers, "orders") {
		found[r.Origin()] = r
	}
	require.Len(t, found, len(written))
	largest := 0
	for _, want := range written {
		got := found[want.Origin()]
		got.Name = want.Name
		require.Equal(t, want, got)
		size := len(want.Key) + len(want.Value)
		for _, h := range want.Headers {
			size += len(h.Name) + len(h.Value)
		}
		largest = max(largest, size)
	}
	require.Greater(t, largest, 1048588-300, "the largest is near the limit")
}

func TestHeadersAreTakenByNameAllOrTheLast(t *testing.T) {
	r := Record{Topic: "orders", Partition: 2, Offset: 7, Headers: []Header{{"a", []byte("1")}, {"b", nil}, {"a", []byte("2")}}}
	require.Equal(t, "orders/2/7", r.Origin())
	last, ok := r.Last("a")
	require.True(t, ok)
	require.Equal(t, "2", last)
	require.Equal(t, []string{"1", "2"}, r.All("a"))
	_, ok = r.Last("c")
	require.False(t, ok)
}
