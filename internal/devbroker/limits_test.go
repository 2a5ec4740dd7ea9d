package devbroker

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// greedy are requests that ask for more than a broker has.
func greedy() []kmsg.Request {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 7
	for _, n := range []int32{math.MaxInt32, 2, maxPartitions} {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic = fmt.Sprintf("with-%d", n)
		topic.NumPartitions, topic.ReplicationFactor = n, 1
		create.Topics = append(create.Topics, topic)
	}

	add := kmsg.NewPtrCreatePartitionsRequest()
	add.Version = 3
	more := kmsg.NewCreatePartitionsRequestTopic()
	more.Topic, more.Count = "orders", 1_000_000_000
	add.Topics = append(add.Topics, more)

	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version = 11
	fetch.MaxWaitMillis, fetch.MinBytes, fetch.MaxBytes = math.MaxInt32, math.MaxInt32, math.MaxInt32
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "orders"
	topic.Partitions = append(topic.Partitions, kmsg.NewFetchRequestTopicPartition())
	fetch.Topics = append(fetch.Topics, topic)

	share := kmsg.NewPtrShareFetchRequest()
	share.Version = 1
	share.MaxWaitMillis, share.MaxBytes = math.MaxInt32, math.MaxInt32
	return []kmsg.Request{create, add, fetch, share}
}

// tamed is what the broker gets of a request.
func tamed(t testing.TB, req kmsg.Request) kmsg.Request {
	t.Helper()
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client"))
	frame, err := tame(formatter.AppendRequest(nil, req, 7), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Len(t, frame, int(binary.BigEndian.Uint32(frame))+4)
	again, err := tame(frame, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, frame, again, "what was tamed is tame")

	got := kmsg.RequestForKey(req.Key())
	got.SetVersion(req.GetVersion())
	body := frame[frameHeader+2+len("client"):]
	if req.IsFlexible() {
		body = body[1:] // no tags
	}
	require.NoError(t, got.ReadFrom(body))
	return got
}

func TestTame(t *testing.T) {
	requests := greedy()
	create := tamed(t, requests[0]).(*kmsg.CreateTopicsRequest)
	partitions := []int32{create.Topics[0].NumPartitions, create.Topics[1].NumPartitions, create.Topics[2].NumPartitions}
	require.Equal(t, []int32{0, 0, 0}, partitions, "what comes after the bound is refused too")
	require.EqualValues(t, 0, tamed(t, requests[1]).(*kmsg.CreatePartitionsRequest).Topics[0].Count)
	fetch := tamed(t, requests[2]).(*kmsg.FetchRequest)
	require.EqualValues(t, maxFetch, fetch.MaxBytes)
	require.EqualValues(t, maxFetchWait, fetch.MaxWaitMillis)
	require.Equal(t, "orders", fetch.Topics[0].Topic)
	share := tamed(t, requests[3]).(*kmsg.ShareFetchRequest)
	require.EqualValues(t, maxFetch, share.MaxBytes)
	require.EqualValues(t, maxFetchWait, share.MaxWaitMillis)

	large := kmsg.NewPtrCreateTopicsRequest()
	large.Version = 2
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "large", maxPartitions, 1
	large.Topics = append(large.Topics, topic)
	require.EqualValues(t, maxPartitions, tamed(t, large).(*kmsg.CreateTopicsRequest).Topics[0].NumPartitions)
}

// batch is a batch of records with a count that may be a lie.
func batch(count int32, compression byte, records ...byte) []byte {
	b := make([]byte, batchHeader, batchHeader+len(records))
	b[batchMagic] = 2
	b[batchAttributes+1] = compression
	binary.BigEndian.PutUint32(b[batchCount:], uint32(count))
	return append(b, records...)
}

func TestCheckBatch(t *testing.T) {
	tests := map[string]struct {
		batch   []byte
		problem string
	}{
		"a record":                        {batch(1, 0, make([]byte, smallestRecord)...), ""},
		"compressed ones":                 {batch(1000, 4, make([]byte, smallestRecord)...), ""},
		"what is no batch":                {[]byte("no batch"), ""},
		"nothing":                         {nil, ""},
		"a format before batches":         {make([]byte, batchHeader), ""},
		"no records":                      {batch(0, 0), "0 records: expected 1 or more"},
		"less than none":                  {batch(-1, 0), "-1 records"},
		"less than none, compressed":      {batch(math.MinInt32, 1), "-2147483648 records"},
		"more than there are bytes":       {batch(3, 0, make([]byte, 2*smallestRecord)...), "3 records: expected 2 at most in 75 bytes"},
		"more than there can be anywhere": {batch(math.MaxInt32, 0, 1, 2, 3), "2147483647 records: expected 0 at most"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := checkBatch(test.batch)
			if test.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.problem)
		})
	}
}

// What is too much is answered like any wrong request, and the connection goes on.
func TestTooManyPartitionsAreAnswered(t *testing.T) {
	broker := start(t, Options{})
	c := client(t, broker.Address())
	admin := kadm.NewClient(c)
	_, err := admin.CreateTopic(t.Context(), 1_000_000_000, 1, nil, "huge")
	require.ErrorIs(t, err, kerr.InvalidPartitions)
	_, err = admin.CreateTopic(t.Context(), 3, 1, nil, "orders")
	require.NoError(t, err)
	res, err := admin.UpdatePartitions(t.Context(), 1_000_000_000, "orders")
	require.NoError(t, err)
	require.ErrorIs(t, res["orders"].Err, kerr.InvalidPartitions)
	topics, err := admin.ListTopics(t.Context())
	require.NoError(t, err)
	require.NotContains(t, topics, "huge")
	require.Len(t, topics["orders"].Partitions, 3)
}

// exchange sends a frame and returns what comes back before the broker closes the connection.
func exchange(t *testing.T, broker *Broker, frame []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", broker.Address())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(frame)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	answer, err := io.ReadAll(conn)
	require.NoError(t, err, "the broker neither answers nor closes the connection")
	return answer
}

// The lengths in a frame are lies: four billion tags, arrays as long as the frame, in each other.
func TestLengthsThatLieEndTheConnection(t *testing.T) {
	broker := start(t, Options{})
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f} // a compact length or count of 2^32-1
	header := []byte{0xff, 0xff}                 // no client id
	build := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	nested := build(header, []byte{0}) // no tags
	for n := 900_000; n > 1000; n /= 2 {
		nested = append(nested, byte(n|0x80), byte(n>>7|0x80), byte(n>>14&0x7f)) // an array of n
		nested = append(nested, 2, 'a', 0, 0, 0, 1, 0, 1)                        // topic a: 1 partition, 1 replica
	}
	nested = append(nested, make([]byte, 1_000_000-len(nested))...)
	createTopics := kmsg.CreateTopics.Int16()
	attacks := map[string][]byte{
		"tags of the header": build(frame(8+7, createTopics, 7), header, huge),
		"tags of the body":   build(frame(8+2+1+1+4+1+5, createTopics, 7), header, []byte{0, 1, 0, 0, 0, 0, 0}, huge),
		"an array":           build(frame(8+2+1+5, createTopics, 7), header, []byte{0}, huge),
		"arrays in arrays":   build(frame(uint32(8+len(nested)), createTopics, 7), nested),
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			require.Empty(t, exchange(t, broker, attack))
			t.Log("closed after", time.Since(begun))
		})
	}
	// The same in every kind of request: a body of the largest lengths only.
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil || key == kmsg.ApiVersions.Int16() {
			continue
		}
		body := strings.Repeat(string(huge), 20)
		exchange(t, broker, build(frame(uint32(8+2+1+len(body)), key, req.MaxVersion()), header, []byte{0}, []byte(body)))
	}
	stillServes(t, broker)
}

func TestABatchWithACountThatLiesEndsTheConnection(t *testing.T) {
	broker := start(t, Options{})
	require.NoError(t, broker.Cluster().CreateTopic("orders", 1, nil))
	for _, count := range []int32{-1, 0, 1_000_000} {
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks = 9, -1
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic = "orders"
		partition := kmsg.NewProduceRequestTopicPartition()
		partition.Records = batch(count, 0, make([]byte, smallestRecord)...)
		topic.Partitions = append(topic.Partitions, partition)
		req.Topics = append(req.Topics, topic)
		require.Empty(t, exchange(t, broker, kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)))
	}
	ends, err := kadm.NewClient(client(t, broker.Address())).ListEndOffsets(t.Context(), "orders")
	require.NoError(t, err)
	end, _ := ends.Lookup("orders", 0)
	require.Zero(t, end.Offset)
	require.NoError(t, client(t, broker.Address(), kgo.DefaultProduceTopic("orders")).ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr())
}
