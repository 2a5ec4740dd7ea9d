package clients

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
)

// confluent-kafka's serializer puts a schema's GUID into a header. By the built-in schema the bytes
// of these orders are orders too, with id and product swapped: so they are read by the schema that
// the header names, or not at all.
func TestASchemaInAHeaderIsTheOneThatIsReadBy(t *testing.T) {
	forEachConsumer(t, schemaInHeader)
}

func schemaInHeader(t *testing.T, pipeline string) {
	const n = 20
	s := newSystem(t, pipeline, map[string]string{"FAILURE_RATE": "0"})
	client, err := sr.NewClient(sr.URLs(s.env["SCHEMA_REGISTRY_URL"]))
	require.NoError(t, err)
	_, err = client.CreateSchema(t.Context(), "orders-value", sr.Schema{Type: sr.TypeAvro, Schema: `{"type":"record","name":"Order","fields":[
		{"name":"product","type":"string"},{"name":"orderId","type":["null","string"]},{"name":"price","type":"double"}]}`})
	require.NoError(t, err)
	write := func() {
		written := run(t, "header.py", []string{"--brokers", s.brokers, "--topic", "orders", "--registry", s.env["SCHEMA_REGISTRY_URL"], "--count", strconv.Itoa(n)})
		require.Len(t, written, n)
		for _, r := range written {
			requireGUID(t, r)
		}
	}

	write()
	consumer := s.run(pipeline)
	report := s.await(consumer, n)
	require.NoError(t, report.ExactlyOnce())
	require.NoError(t, consumer.Terminate(20*time.Second))
	ids := map[string]bool{}
	for _, r := range s.read("orders-processed") {
		var body struct{ OrderID, Product string }
		require.NoError(t, json.Unmarshal(r.Value, &body))
		require.Equal(t, string(r.Key), body.OrderID)
		require.Equal(t, "Pen", body.Product)
		ids[body.OrderID] = true
	}
	require.Len(t, ids, n)

	// Without a registry nobody can tell.
	write()
	consumer = s.run(pipeline, "SCHEMA_REGISTRY_URL", "")
	report = s.await(consumer, 2*n)
	require.NoError(t, report.ExactlyOnce())
	require.NoError(t, consumer.Terminate(20*time.Second))
	require.Len(t, s.read("orders-processed"), n)
	letters := s.read("orders-dlq")
	require.Len(t, letters, n)
	for _, letter := range letters {
		requireContract(t, letter)
		code, _ := letter.Last("dlq_code")
		require.Equal(t, "registry_missing", code)
		text, _ := letter.Last("dlq_error")
		require.Regexp(t, `^decoding order: header __value_schema_id: schema GUID [0-9a-f-]{36} needs a registry: set registry\.url$`, text)
		requireGUID(t, letter)
	}
}

func requireGUID(t *testing.T, r Record) {
	t.Helper()
	header, _ := r.Last("__value_schema_id")
	require.Len(t, header, 17, "%x", header)
	require.Equal(t, byte(1), header[0])
}
