package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

// moody is a schema registry with schema id 1, that answers otherwise for the ids that a test names.
type moody struct {
	*httptest.Server
	mu    sync.Mutex
	moods map[string]http.HandlerFunc // by id
	asked map[string]int
}

func newMoody(t *testing.T, moods map[string]http.HandlerFunc) *moody {
	m := &moody{moods: moods, asked: map[string]int{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(func() {
		m.CloseClientConnections() // of those that hang
		m.Close()
	})
	return m
}

func (m *moody) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/subjects" {
		saying(200, `["orders-value"]`)(w, req)
		return
	}
	id := strings.TrimPrefix(req.URL.Path, "/schemas/ids/")
	m.mu.Lock()
	m.asked[id]++
	mood := m.moods[id]
	m.mu.Unlock()
	switch {
	case mood != nil:
		mood(w, req)
	case id == "1":
		knowing(w, req)
	default:
		saying(404, `{"error_code":40403,"message":"Schema not found"}`)(w, req)
	}
}

// learn lets ids be known from now on.
func (m *moody) learn(ids ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.moods[id] = knowing
	}
}

func (m *moody) times(id string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[id]
}

func knowing(w http.ResponseWriter, req *http.Request) {
	saying(200, `{"schema":`+strconv.Quote(schemas.Order)+`}`)(w, req)
}

func saying(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func hanging(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }

// numbered returns orders that the simulated failure spares, written with the schemas of these
// ids in turn, over all partitions.
func numbered(prefix string, n int, ids ...uint32) []*kgo.Record {
	var records []*kgo.Record
	for i := range n {
		id := orderID(fmt.Sprintf("%s-%d", prefix, i), false)
		records = append(records, &kgo.Record{
			Topic: "orders", Key: []byte(id), Value: framed(ids[i%len(ids)], avro(id, "Pen", 1.5)), Partition: int32(i % 6),
		})
	}
	return records
}

// interleaved puts each of the few behind some of the many.
func interleaved(many, few []*kgo.Record) []*kgo.Record {
	var all []*kgo.Record
	step := len(many) / len(few)
	for i, r := range few {
		all = append(append(all, many[i*step:(i+1)*step]...), r)
	}
	return append(all, many[len(few)*step:]...)
}

// Schemas that a registry refuses or does not answer for stop no order but those that have them.
// What it refuses is a dead letter with a code; what it does not answer for waits, is in the state
// when the process is killed, and is processed when the registry has come to itself.
func TestOnePoisonedSchemaStopsNoOther(t *testing.T) {
	t.Parallel()
	moods := func() map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{
			"101": saying(404, `{"error_code":404,"message":"HTTP 404 Not Found"}`),
			"102": saying(403, `{"error_code":40301,"message":"not allowed"}`),
			"103": saying(500, `{"error_code":50001,"message":"store error"}`),
			"104": hanging,
			"105": saying(200, `{"schema":`),
			"106": saying(200, "<html>please log in</html>"),
		}
	}
	const healthy, refused, silent = 96, 4, 8
	silentIDs := []string{"103", "104", "105", "106"}
	codes := map[string]int{"unknown_schema_id": 2, "schema_refused": 2}
	const noRetries = ""
	for name, pipeline := range map[string]string{
		"transactional": consumer, "transactional, without backoff_retry": noRetries, "at least once": atLeastOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			early := 0
			if pipeline == noRetries {
				pipeline, early = withoutRetries(t), refused
			}
			w := newWorld(t, nil)
			registry := newMoody(t, moods())
			w.produce(interleaved(numbered("healthy", healthy, 1), numbered("poisoned", refused+silent, 101, 102, 103, 104, 105, 106))...)
			env := map[string]string{"SCHEMA_REGISTRY_URL": registry.URL, "INSTANCE_ID": "consumer-0"}
			p := w.run(pipeline, env)

			require.Eventually(t, func() bool {
				return len(w.committed("orders-processed")) == healthy && len(w.committed("orders-dlq")) == refused
			}, patience, 100*time.Millisecond, "all but those that wait")
			for _, id := range silentIDs {
				awaitLog(t, p, "does not answer for schema id "+id+": its orders wait, others go on: ")
			}
			require.NotContains(t, p.Log(), "cannot be reached")
			require.NotContains(t, p.Log(), "looks like an outage")
			if pipeline != atLeastOnce {
				w.awaitWaiting(silent)
				p.Kill()
				p = w.run(pipeline, env)
			}

			// What comes later flows too, and what waits is asked for again and again.
			later := numbered("later", 12, 1)
			w.produce(later...)
			before := registry.times("103")
			require.Eventually(t, func() bool {
				return len(w.committed("orders-processed")) == healthy+len(later) && registry.times("103") > before
			}, patience, 100*time.Millisecond)
			require.Len(t, w.committed("orders-dlq"), refused, "however long it takes")

			registry.learn(silentIDs...)
			report := w.await(oracle.Config{IgnoreHeaders: true}, healthy+refused+silent+len(later))
			require.Equal(t, early, report.GivenUpEarly)
			report.GivenUpEarly = 0
			require.NoError(t, report.ExactlyOnce())
			require.Equal(t, healthy+silent+len(later), report.Processed)
			require.Equal(t, codes, report.Codes)
			require.NoError(t, p.Terminate(patience))
			if pipeline != atLeastOnce {
				found := w.audit()
				require.True(t, found.OK)
				require.EqualValues(t, refused, found.DeadLettered)
				require.Zero(t, found.Waiting+found.Dropped)
			}
		})
	}
}

// withoutRetries is consumer.yaml as a user may make it who wants no retries.
func withoutRetries(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(child.Root(t), consumer))
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), "    - backoff_retry:\n")
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, "    - running_aggregate:\n")
	require.True(t, ok)
	path := filepath.Join(t.TempDir(), "consumer.yaml")
	require.NoError(t, os.WriteFile(path, []byte(before+"    - running_aggregate:\n"+after), 0o600))
	return path
}

// A registry that learns of a schema a second after the first order that has it costs no order.
func TestALateSchemaCostsNoOrder(t *testing.T) {
	t.Parallel()
	for name, pipeline := range map[string]string{"transactional": consumer, "at least once": atLeastOnce} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			registry := newMoody(t, map[string]http.HandlerFunc{})
			var once sync.Once
			registry.moods["7"] = func(rw http.ResponseWriter, req *http.Request) {
				once.Do(func() { time.AfterFunc(time.Second, func() { registry.learn("7") }) })
				saying(404, `{"error_code":40403,"message":"Schema 7 not found"}`)(rw, req)
			}
			w.produce(numbered("late", 30, 7)...)
			p := w.run(pipeline, map[string]string{"SCHEMA_REGISTRY_URL": registry.URL})
			report := w.await(oracle.Config{IgnoreHeaders: true}, 30)
			require.NoError(t, report.ExactlyOnce())
			require.Equal(t, 30, report.Processed)
			require.Zero(t, report.DeadLettered)
			require.NoError(t, p.Terminate(patience))
		})
	}
}

// Without its registry a consumer cannot read a single order: it says so, and what it makes dead
// letters of is sent again once there is one.
func TestARegistryThatNobodyConfiguredIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.produce(numbered("framed", 12, 7)...)
	p := w.run(consumer, nil)
	require.Equal(t, map[string]int{"registry_missing": 12}, w.await(oracle.Config{}, 12).Codes)
	awaitLog(t, p, "Orders come in the Confluent wire format, and there is no registry to decode them by: set registry.url.")
	require.Equal(t, 1, strings.Count(p.Log(), "Orders come in the Confluent wire format"), "once, however many they are")
	list := orderflow(t, w.env(nil), "dlq", "list")
	require.Zero(t, list.status, list.stderr)
	require.Regexp(t, `12 +100\.0 % .* wait +registry_missing \(permanent\)`, list.stdout)
	require.NoError(t, p.Terminate(patience))
}
