package kafka

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/cmd/orderflow/audit"
	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/child"
)

// Whatever comes, the consumer lives within the memory that it is given, and the account adds up.
// Each case runs the binary with 4 GB of address space, of which Go reserves more than it uses, and
// a heap of 1 GiB.
func TestTheConsumerLivesWithinItsBounds(t *testing.T) {
	cluster := Start(t, Options{Properties: map[string]string{"message.max.bytes": "2000000"}})
	for _, c := range []struct {
		name string
		test func(*site)
	}{
		{"a slow service under a backlog", slowService},
		{"batches that decompress to a gigabyte", bombs},
		{"large orders that wait", largeOrdersWait},
		{"schemas that attack", schemasAttack},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newSite(t, cluster, strings.ReplaceAll(c.name, " ", "-"))) })
	}
}

// bounded starts the consumer with a pipeline and little memory.
func (s *site) bounded(pipeline string, args ...string) *child.Process {
	s.t.Helper()
	env := []string{"LOG_LEVEL=INFO", "GOMEMLIMIT=1GiB"}
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	return child.Start(s.t, child.Command{
		Name: "consumer", Path: "sh", Dir: child.Root(s.t), Env: env,
		Args: append(append([]string{"-c", `ulimit -v 4000000 && exec "$0" run "$@"`, child.Orderflow(s.t)}, args...), pipeline),
	})
}

// bulk writes n orders at once, each made by fill.
func (s *site) bulk(n int, opts []kgo.Opt, fill func(i int) order.Order) {
	s.t.Helper()
	cl := s.cluster.Client(append([]kgo.Opt{kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))}, opts...)...)
	for i := range n {
		o := fill(i)
		value, err := s.enc.Append(nil, o)
		require.NoError(s.t, err)
		cl.Produce(s.t.Context(), &kgo.Record{Topic: s.env["ORDERS_TOPIC"], Key: []byte(o.ID), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				s.t.Errorf("producing: %v", err)
			}
		})
	}
	require.NoError(s.t, cl.Flush(s.t.Context()))
	s.written += n
}

// The broker ends a transaction after 10 s. At 30 ms a call, all that fits into the pipeline would
// take minutes.
func slowService(s *site) {
	var mu sync.Mutex
	calls := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var o struct{ OrderID string }
		_ = json.NewDecoder(req.Body).Decode(&o)
		mu.Lock()
		calls[o.OrderID]++
		mu.Unlock()
		<-time.After(30 * time.Millisecond)
		fmt.Fprint(w, `{"ok":true}`)
	}))
	defer server.Close()
	text, err := os.ReadFile(filepath.Join(child.Root(s.t), consumer))
	require.NoError(s.t, err)
	const seed = "                seed: ${FAILURE_SEED:1}\n"
	require.Equal(s.t, 1, strings.Count(string(text), seed))
	pipeline := filepath.Join(s.t.TempDir(), "slow.yaml")
	require.NoError(s.t, os.WriteFile(pipeline, []byte(strings.Replace(string(text), seed, seed+`          - branch:
              processors:
                - http: {url: `+server.URL+`, verb: POST, retries: 0}
              result_map: root.reserved = this.ok
`, 1)), 0o600))

	s.bulk(40_000, nil, func(i int) order.Order { return order.Order{ID: fmt.Sprintf("o-%d", i), Product: "Pen", Price: 1.5} })
	p := s.bounded(pipeline)
	before := 0
	for range 6 {
		s.await("more processed orders", 15*time.Second, func() (any, bool) {
			found := s.count(s.env["PROCESSED_TOPIC"])
			defer func() { before = max(before, found) }()
			return found, found > before
		})
		<-time.After(5 * time.Second)
	}
	require.Greater(s.t, before, 500)
	s.stop(p)
	require.NotContains(s.t, p.Log(), "Transaction aborted")
	require.NotContains(s.t, p.Log(), "Lost the transaction")
	mu.Lock()
	defer mu.Unlock()
	for id, n := range calls {
		require.Equal(s.t, 1, n, "calls for %s", id)
	}
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK })
}

// bombs are three batches of a record each, of a few kilobytes on the wire.
func bombs(s *site) {
	const size = 350 << 20
	s.write(10)
	cl := s.cluster.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.BrokerMaxWriteBytes(1<<30),
		kgo.ProducerBatchMaxBytes(400<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	places := map[string]bool{}
	for range 3 {
		rec := &kgo.Record{Topic: s.env["ORDERS_TOPIC"], Partition: 0, Value: make([]byte, size)}
		require.NoError(s.t, cl.ProduceSync(s.t.Context(), rec).FirstErr())
		places[fmt.Sprintf("%s/0/%d", rec.Topic, rec.Offset)] = true
	}
	s.write(50)

	p := s.bounded(consumer)
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Processed == 60 && r.DeadLettered == 3 && r.Orders == 63 })
	s.stop(p)
	list := exec.Command("sh", "-c", `ulimit -v 4000000 && exec "$0" dlq list --all --json`, child.Orderflow(s.t))
	list.Env = append(list.Environ(), "GOMEMLIMIT=1GiB")
	for name, value := range s.env {
		list.Env = append(list.Env, name+"="+value)
	}
	out, err := list.Output()
	require.NoError(s.t, err)
	require.Contains(s.t, string(out), "batch_too_large")
	for place := range places {
		require.Contains(s.t, string(s.orderflow("dlq", "show", place)), "has more than 64 MiB without its compression")
	}

	// On the dead-letter topic itself they are letters that cannot be read.
	rec := &kgo.Record{Topic: s.env["DLQ_TOPIC"], Partition: 0, Value: make([]byte, size)}
	require.NoError(s.t, cl.ProduceSync(s.t.Context(), rec).FirstErr())
	require.Contains(s.t, string(s.orderflow("dlq", "list", "--all")), "4 open dead letters")
}

// largeOrdersWait are 900 orders of 0.7 MB, each of which fails twice.
func largeOrdersWait(s *site) {
	s.env["FAILURE_RATE"], s.env["FAILURE_MODE"] = "1", "transient"
	s.env["BREAKER_RATIO"] = "0"
	const n = 900
	product := strings.Repeat("P", 700_000)
	s.bulk(n, []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(20)},
		func(i int) order.Order { return order.Order{ID: fmt.Sprintf("o-%d", i), Product: product, Price: 1.5} })
	p := s.bounded(consumer)
	s.await("orders that wait", child.Patience, func() (any, bool) {
		found := s.count(s.env["STATE_TOPIC"])
		return found, found > 100
	})
	p.Kill()
	p = s.bounded(consumer) // the restore is within bounds too
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Processed == n && r.Orders == n })
	s.stop(p)
}

// schemasAttack are schemas that have ended a process: the registry has them, and orders name them.
func schemasAttack(s *site) {
	attacks := map[string]string{
		"2": `{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"product","type":"string"},{"name":"price","type":"double"},{"name":"next","type":["Order"],"default":{}}]}`,
		"3": `{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"x","type":[],"default":null},{"name":"product","type":"string"},{"name":"price","type":"double"}]}`,
		"4": `{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"x","type":{"type":"fixed","name":"F","size":2147483647}},{"name":"product","type":"string"},{"name":"price","type":"double"}]}`,
		"5": `{"type":"enum","name":"E","symbols":["S` + strings.Join(numbers(200_000), `","S`) + `"]}`,
		"6": strings.Repeat(`{"type":"array","items":`, 100_000) + `"int"` + strings.Repeat("}", 100_000),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		text, ok := attacks[strings.TrimPrefix(req.URL.Path, "/schemas/ids/")]
		if !ok {
			text = schemas.Order
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"schema": text})
	}))
	defer server.Close()
	s.env["SCHEMA_REGISTRY_URL"] = server.URL
	s.write(10)
	for id := range attacks {
		value := append(order.AppendFrame(nil, uint32(id[0]-'0')), bytes.Repeat([]byte{2, 'x'}, 8)...)
		require.NoError(s.t, s.client.ProduceSync(s.t.Context(), &kgo.Record{Topic: s.env["ORDERS_TOPIC"], Key: []byte("attack-" + id), Value: value}).FirstErr())
	}
	s.write(10)
	p := s.bounded(consumer)
	s.awaitAudit(child.Patience, func(r audit.Report) bool { return r.OK && r.Processed == 20 && r.DeadLettered == 5 })
	s.stop(p)
	list := string(s.orderflow("dlq", "list", "--json"))
	require.Contains(s.t, list, `"open":5`)
}

func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	return all
}
