package clients

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/cmd/orderflow/topics"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
)

// spoken is what a reader of a dialect finds in the letters of a topic, by their keys.
func spoken(t *testing.T, brokers, topic string) map[string]map[string]any {
	t.Helper()
	letters := map[string]map[string]any{}
	for _, r := range run(t, "dialects.py", []string{"read", "--brokers", brokers, "--topic", topic}) {
		var said map[string]any
		require.NoError(t, json.Unmarshal(r.Value, &said))
		letters[r.Name] = said
	}
	return letters
}

// orderflow runs a command to its end and reads its JSON.
func (s *system) orderflow(doc any, args ...string) {
	s.t.Helper()
	cmd := exec.Command(child.Orderflow(s.t), append(args, "--json", "--brokers", s.brokers)...)
	cmd.Dir = child.Root(s.t)
	out, err := cmd.Output()
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal(out, doc))
}

// newEmbedded is a system on the embedded broker: which broker it is makes no difference to what
// is in a header.
func newEmbedded(t *testing.T) *system {
	t.Helper()
	broker, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	list, err := topics.Default()
	require.NoError(t, err)
	require.NoError(t, topics.Apply(t.Context(), io.Discard, list, broker.ClientOpts()...))
	return &system{t: t, brokers: broker.Address(), env: map[string]string{"KAFKA_BROKERS": broker.Address(), "HTTP_ADDRESS": "127.0.0.1:0"}}
}

// Systems that read dead letters of a dialect find ours, with the right types; and what they write
// is listed and shown.
func TestDeadLettersAreUnderstoodByOtherSystemsAndTheirsByUs(t *testing.T) {
	if os.Getenv(kafka.Env) == "" {
		t.Skipf("needs Python; set %s=1", kafka.Env)
	}
	s := newEmbedded(t)
	const group, code = "orderflow", "orderflow.simulated_failure"
	for dialect, want := range map[string]func(Record) map[string]any{
		"spring": func(r Record) map[string]any {
			return map[string]any{
				"kafka_dlt-original-topic": r.Topic, "kafka_dlt-original-partition": float64(r.Partition), "kafka_dlt-original-offset": float64(r.Offset),
				"kafka_dlt-original-timestamp-type": "CreateTime", "kafka_dlt-original-consumer-group": group,
				"kafka_dlt-exception-fqcn": code, "kafka_dlt-exception-cause-fqcn": code,
				"kafka_dlt-exception-message":    "Max retries exceeded: Simulated processing failure",
				"kafka_dlt-exception-stacktrace": "Max retries exceeded: Simulated processing failure",
			}
		},
		"connect": func(r Record) map[string]any {
			return map[string]any{
				"__connect.errors.topic": r.Topic, "__connect.errors.partition": float64(r.Partition), "__connect.errors.offset": float64(r.Offset),
				"__connect.errors.connector.name": group, "__connect.errors.task.id": 0.0,
				"__connect.errors.stage": "order_validate", "__connect.errors.class.name": "orderflow.order_validate",
				"__connect.errors.exception.class.name": code,
				"__connect.errors.exception.message":    "Max retries exceeded: Simulated processing failure",
				"__connect.errors.exception.stacktrace": "Max retries exceeded: Simulated processing failure",
			}
		},
	} {
		begun := time.Now().Add(-time.Minute).UnixMilli()
		written := s.produce("orders", "--count", "3", "--prefix", dialect)
		consumer := s.run("consumer", "DLQ_DIALECT", dialect, "FAILURE_RATE", "1")
		var letters map[string]map[string]any
		require.Eventually(t, func() bool {
			var doc struct{ Open int }
			s.orderflow(&doc, "dlq", "list", "--where", `@dlq_code == "simulated_failure" && this.orderId.has_prefix("`+dialect+`")`)
			return doc.Open == len(written)
		}, child.Patience, 500*time.Millisecond, "the letters are written")
		require.NoError(t, consumer.Terminate(20*time.Second))
		letters = spoken(t, s.brokers, "orders-dlq")
		for _, r := range written {
			got := letters[r.Name]
			if dialect == "spring" {
				require.Greater(t, got["kafka_dlt-original-timestamp"], float64(begun))
				delete(got, "kafka_dlt-original-timestamp")
			}
			require.Equal(t, want(r), got, dialect)
		}
	}

	run(t, "dialects.py", []string{"write", "--brokers", s.brokers, "--topic", "orders-dlq"})
	var list struct {
		Open   int
		Groups []struct{ Code, Pattern, Value, Example string }
	}
	s.orderflow(&list, "dlq", "list", "--where", `this.orderId == "foreign"`)
	require.Equal(t, 2, list.Open)
	codes := map[string]string{}
	for _, g := range list.Groups {
		codes[g.Code] = g.Pattern + " " + g.Value + " " + g.Example
	}
	require.Equal(t, map[string]string{
		"java.lang.IllegalStateException":               "no stock of * 2.5 shop/2/4711",
		"org.apache.kafka.connect.errors.DataException": "no schema 2.5 shop/1/8",
	}, codes)
	var shown struct {
		Origin, Advice string
		Order          struct{ OrderID string }
	}
	s.orderflow(&shown, "dlq", "show", "shop/2/4711")
	require.Equal(t, [3]string{"shop/2/4711", "look", "foreign"}, [3]string{shown.Origin, shown.Advice, shown.Order.OrderID})
}
