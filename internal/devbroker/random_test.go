package devbroker

import (
	"math/rand"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRandomRequests sends well-formed requests with a content that makes no sense. A panic in
// the broker ends the test binary, so the test asks only whether an honest client still gets on.
func TestRandomRequests(t *testing.T) {
	broker := start(t, Options{})
	rnd := rand.New(rand.NewSource(1))
	for range 2000 {
		req := kmsg.RequestForKey(int16(rnd.Intn(kmsg.MaxKey + 1)))
		if req == nil {
			continue
		}
		req.SetVersion(int16(rnd.Intn(int(req.MaxVersion()) + 1)))
		scramble(rnd, reflect.ValueOf(req).Elem(), 0)
		send(t, broker, req)
	}
	stillServes(t, broker)
}

// TestTwoUnknownTopicIDs is what a client sends whose topics were deleted and made anew.
func TestTwoUnknownTopicIDs(t *testing.T) {
	broker := start(t, Options{})
	req := kmsg.NewPtrProduceRequest()
	req.Version = 13
	req.Acks = -1
	for id := range 2 {
		topic := kmsg.NewProduceRequestTopic()
		topic.TopicID[0] = byte(id + 1)
		topic.Partitions = append(topic.Partitions, kmsg.NewProduceRequestTopicPartition())
		req.Topics = append(req.Topics, topic)
	}
	send(t, broker, req)
	stillServes(t, broker)
}

// send writes a request on a connection of its own and waits a moment for an answer.
func send(t *testing.T, broker *Broker, req kmsg.Request) {
	t.Helper()
	conn, err := net.Dial("tcp", broker.Address())
	require.NoError(t, err)
	defer conn.Close()
	// Some requests, such as joining a group, are not answered soon.
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Millisecond)))
	_, _ = conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)) // may be cut off
	_, _ = conn.Read(make([]byte, 4))
}

func stillServes(t *testing.T, broker *Broker) {
	t.Helper()
	require.NoError(t, broker.Cluster().CreateTopic("honest", 1, nil))
	c := client(t, broker.Address(), kgo.DefaultProduceTopic("honest"))
	require.NoError(t, c.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr())
	require.Equal(t, []string{"v"}, values(t, broker.Address(), "honest", 1))
}

// scramble fills a request with small numbers and names that may exist.
func scramble(rnd *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt([]int64{-1, 0, 0, 1, 1, 2, 5, 100}[rnd.Intn(8)])
	case reflect.Uint8:
		v.SetUint(uint64(rnd.Intn(3)))
	case reflect.Bool:
		v.SetBool(rnd.Intn(2) == 0)
	case reflect.String:
		v.SetString([]string{"", "orders", "group", "tx", "consumer", "range"}[rnd.Intn(6)])
	case reflect.Pointer:
		if rnd.Intn(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			scramble(rnd, v.Elem(), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rnd.Intn(3), 2))
		for i := range v.Len() {
			scramble(rnd, v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			scramble(rnd, v.Index(i), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name == "UnknownTags" || depth == 0 && name == "Version" {
				continue
			}
			scramble(rnd, v.Field(i), depth+1)
		}
	}
}
