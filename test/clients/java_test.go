package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderflow/orderflow/test/child"
)

// Old, current and new versions of the schema are written side by side, by Java and by Python;
// what comes out of them is read by Java, by Python and by kcat.
func TestJavaWritesAllSchemaVersionsAndAllClientsReadTheSame(t *testing.T) {
	java := CompileJava(t)
	s := newSystem(t, "consumer", map[string]string{"FAILURE_RATE": "0"})
	consumer := s.run("consumer")

	const current, before, after = "config/schemas/order.avsc", "config/schemas/history/order_v1.avsc", "config/schemas/history/order_v3.avsc"
	written := java.Write(s.brokers, "orders", "plain", "40", current)
	for _, version := range []struct{ prefix, schema string }{{"v1", before}, {"v2", current}, {"v3", after}} {
		written = append(written, java.Write(s.brokers, "orders", version.prefix, "40", version.schema, strconv.Itoa(s.register(version.schema)))...)
	}
	require.Len(t, written, 4*41)
	sources := map[string]Record{}
	for _, r := range append(written, s.produce("orders", "--count", "20", "--prefix", "python", "--framing", "confluent")...) {
		sources[r.Origin()] = r
	}
	require.NoError(t, s.await(consumer, len(sources)).ExactlyOnce())
	require.NoError(t, consumer.Terminate(20*time.Second))

	results, letters := java.Read(s.brokers, "orders-processed"), java.Read(s.brokers, "orders-dlq")
	require.Len(t, results, 4*36+20)
	require.Len(t, letters, 4*5)
	for _, r := range results {
		checkProcessed(t, sources, r)
	}
	codes := map[string]int{}
	for _, r := range letters {
		requireContract(t, r)
		id, _ := r.Last("dlq_id")
		source, ok := sources[id]
		require.True(t, ok, id)
		require.Equal(t, source.Key, r.Key, id)
		require.Equal(t, source.Value, r.Value, "byte for byte; a null value stays null")
		require.Equal(t, source.Headers, withoutOurs(r.Headers), "in their order, repeated, null, not UTF-8")
		code, _ := r.Last("dlq_code")
		codes[source.Name+": "+code]++
	}
	require.Equal(t, map[string]int{"price 0: price_not_positive": 16, "null value: null_value": 4}, codes)

	for topic, records := range map[string][]Record{"orders-processed": results, "orders-dlq": letters} {
		require.ElementsMatch(t, records, s.read(topic), "librdkafka reads what the Java client reads")
		require.Equal(t, kcatForm(records), kcat(t, s.brokers, topic), "so does kcat")
	}
}

func checkProcessed(t *testing.T, sources map[string]Record, r Record) {
	t.Helper()
	require.Len(t, r.Headers, 1, "origin and nothing else")
	source, ok := sources[r.All("origin")[0]]
	require.True(t, ok)
	require.Equal(t, source.Key, r.Key, "a null key stays null")
	var body map[string]any
	require.NoError(t, json.Unmarshal(r.Value, &body))
	require.Len(t, body, 3, "fields of other schema versions are left out: %s", r.Value)
	if source.Key != nil {
		require.Equal(t, string(source.Key), body["orderId"])
	}
	require.Positive(t, body["price"])
	require.NotEmpty(t, body["product"])
}

// register gives a version of the schema to the fake registry.
func (s *system) register(path string) int {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(child.Root(s.t), path))
	require.NoError(s.t, err)
	client, err := sr.NewClient(sr.URLs(s.env["SCHEMA_REGISTRY_URL"]))
	require.NoError(s.t, err)
	created, err := client.CreateSchema(s.t.Context(), "orders-value", sr.Schema{Schema: string(text), Type: sr.TypeAvro})
	require.NoError(s.t, err)
	return created.ID
}

// kcat returns what kcat prints of the committed records of a topic, by place: the length and
// bytes of key and value (-1 is null), and the headers, up to a byte 0 in their values.
func kcat(t *testing.T, brokers, topic string) map[string]string {
	t.Helper()
	const end = " ~end~\n"
	cmd := exec.Command("kcat", "-b", brokers, "-C", "-t", topic, "-e", "-q", "-X", "isolation.level=read_committed", "-f", "%p/%o %K %S %k%s %h"+end)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	found := map[string]string{}
	for record := range strings.SplitSeq(strings.TrimSuffix(string(out), end), end) {
		place, rest, ok := strings.Cut(record, " ")
		require.True(t, ok, record)
		found[topic+"/"+place] = rest
	}
	return found
}

func kcatForm(records []Record) map[string]string {
	length := func(b []byte) int {
		if b == nil {
			return -1
		}
		return len(b)
	}
	found := map[string]string{}
	for _, r := range records {
		var headers []string
		for _, h := range r.Headers {
			value, _, _ := strings.Cut(string(h.Value), "\x00") // where kcat ends it
			if h.Value == nil {
				value = "NULL"
			}
			headers = append(headers, h.Name+"="+value)
		}
		found[r.Origin()] = fmt.Sprintf("%d %d %s%s %s", length(r.Key), length(r.Value), r.Key, r.Value, strings.Join(headers, ","))
	}
	return found
}
