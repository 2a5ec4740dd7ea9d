package dlq

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure" // as main does: Bloblang's methods
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/redrive"
)

// world is a broker with a dead-letter topic of one partition.
type world struct {
	t      testing.TB
	broker *devbroker.Broker
	client *kgo.Client
}

func newWorld(t testing.TB) *world {
	t.Helper()
	b, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	cl, err := kgo.NewClient(append(b.ClientOpts(), kgo.ProducerBatchMaxBytes(4<<20))...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	w := &world{t, b, cl}
	w.create("orders-dlq")
	return w
}

func (w *world) create(topic string) {
	w.t.Helper()
	size := "4000000"
	_, err := kadm.NewClient(w.client).CreateTopic(w.t.Context(), 1, 1, map[string]*string{"max.message.bytes": &size}, topic)
	require.NoError(w.t, err)
}

// produce writes records to a topic, a second apart by their timestamps.
func (w *world) produce(topic string, records ...*kgo.Record) {
	w.t.Helper()
	for i, r := range records {
		r.Topic = topic
		if r.Timestamp.IsZero() {
			r.Timestamp = at(i)
		}
	}
	require.NoError(w.t, w.client.ProduceSync(w.t.Context(), records...).FirstErr())
}

// mark says that the dead letter at an offset is open no more.
func (w *world) mark(offset int64, m redrive.Mark) {
	w.t.Helper()
	place := redrive.Place{Topic: "orders-dlq", Offset: offset}
	m.Target, m.Run, m.At = "orders", "run-1", at(90)
	value, err := json.Marshal(m)
	require.NoError(w.t, err)
	w.produce(redrive.Topic("orders-dlq"), &kgo.Record{Key: place.Key(), Value: value})
}

// result is what a command ended with.
type result struct {
	status         int
	stdout, stderr string
	err            error
}

// run runs a command `dlq …` on the world's broker.
func (w *world) run(args ...string) result {
	w.t.Helper()
	return run(w.t, append(args, "--brokers", w.broker.Address())...)
}

func run(t testing.TB, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	app := &cli.App{Name: "orderflow", HelpName: "orderflow", Writer: &stdout, ErrWriter: &stderr, Commands: []*cli.Command{Command()}}
	err := app.RunContext(t.Context(), append([]string{"orderflow", "dlq"}, args...))
	return result{exit.Code(err), stdout.String(), stderr.String(), err}
}

func at(second int) time.Time {
	return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC).Add(time.Duration(second) * time.Second)
}

func avro(t testing.TB, id string, price float64) []byte {
	t.Helper()
	s, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	e, err := order.NewEncoder(s)
	require.NoError(t, err)
	b, err := e.Append(nil, order.Order{ID: id, Product: "Pen", Price: price})
	require.NoError(t, err)
	return b
}

// failed is the letter of an order at an offset of the topic of the orders.
func failed(class, code, text string, offset int64) deadletter.Letter {
	return deadletter.Letter{
		ID: fmt.Sprintf("orders/0/%d", offset), Class: class, Code: code, Error: text, Stage: "order_validate",
		Attempts: 1, AttemptTimes: []time.Time{at(int(offset))}, FirstFailedAt: at(int(offset)), LastFailedAt: at(int(offset)),
		Topic: "orders", Partition: 0, Offset: offset, Timestamp: at(0), Group: "orderflow",
	}
}

func dead(value []byte, l deadletter.Letter, d deadletter.Dialect) *kgo.Record {
	r := &kgo.Record{Key: []byte("key"), Value: value}
	for _, h := range l.Headers(d) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return r
}
