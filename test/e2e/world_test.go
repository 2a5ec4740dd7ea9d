// Package e2e runs the real binary, as a user does, against the embedded broker, and judges by
// what a reader of committed records finds there.
package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/cmd/orderflow/audit"
	"github.com/orderflow/orderflow/cmd/orderflow/topics"
	"github.com/orderflow/orderflow/config"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

const (
	producer    = "config/pipelines/producer.yaml"
	consumer    = "config/pipelines/consumer.yaml"
	atLeastOnce = "config/pipelines/consumer_at_least_once.yaml"
	monitor     = "config/pipelines/dlq_monitor.yaml"

	patience = child.Patience
)

// atOnce is how many scenarios run at once unless -parallel says otherwise: they wait for most of
// their time, so that there may be more than the machine has processors.
const atOnce = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// world is a broker with the topics of an installation, and what a test needs to look at it.
type world struct {
	t      *testing.T
	broker *devbroker.Broker
	client *kgo.Client
}

// newWorld starts a broker. Names of topics that differ from the usual ones are given as they
// would be in the environment.
func newWorld(t *testing.T, names map[string]string) *world {
	t.Helper()
	broker, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	w := &world{t: t, broker: broker}
	w.client, err = kgo.NewClient(append(broker.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1<<20))...)
	require.NoError(t, err)
	t.Cleanup(w.client.Close)
	w.createTopics(names)
	return w
}

// createTopics makes the topics of config/topics.yaml.
func (w *world) createTopics(names map[string]string) {
	w.t.Helper()
	list, err := topics.Parse(config.Topics, func(name string) (string, bool) {
		v, ok := names[name]
		return v, ok
	})
	require.NoError(w.t, err)
	require.NoError(w.t, topics.Apply(w.t.Context(), io.Discard, list, w.broker.ClientOpts()...))
}

func (w *world) env(more map[string]string) map[string]string {
	return settings(w.broker.Address(), more)
}

// settings is the environment of a pipeline: a broker, no other settings of the machine, and what
// the test asks for.
func settings(broker string, more map[string]string) map[string]string {
	env := map[string]string{
		"KAFKA_TLS": "false", "KAFKA_TLS_CA": "", "KAFKA_SASL_MECHANISM": "none", "KAFKA_SASL_USER": "", "KAFKA_SASL_PASSWORD": "",
		"KAFKA_BROKERS": broker, "HTTP_ADDRESS": "127.0.0.1:0", "LOG_LEVEL": "INFO",
		"ORDERS_TOPIC": "orders", "PROCESSED_TOPIC": "orders-processed", "DLQ_TOPIC": "orders-dlq",
		"STATE_TOPIC": "orders-state", "CONSUMER_GROUP": "orderflow", "SCHEMA_REGISTRY_URL": "",
		"FAILURE_RATE": "0.15", "FAILURE_MODE": "sticky", "FAILURE_SEED": "1",
		"COMMIT_INTERVAL": "200ms", "SESSION_TIMEOUT": "6s", "INSTANCE_ID": "", "SKIP_UNREADABLE_STATE": "",
		"ORDER_COUNT": "100", "ORDER_INTERVAL": "1ms", "ORDER_SEED": "1",
	}
	for name, value := range more {
		env[name] = value
	}
	return env
}

// run starts a pipeline.
func (w *world) run(pipeline string, more map[string]string) *child.Process {
	w.t.Helper()
	return child.Run(w.t, pipeline, w.env(more))
}

// outcome is what a program ended with.
type outcome struct {
	status         int
	stdout, stderr string
}

// orderflow runs a command to its end.
func orderflow(t *testing.T, env map[string]string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, child.Orderflow(t), args...)
	cmd.Dir = child.Root(t)
	cmd.Env = os.Environ()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		require.NoError(t, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// produce writes records to partition 0, or where they say, and fills in where they are.
func (w *world) produce(records ...*kgo.Record) {
	w.t.Helper()
	for _, r := range records {
		if r.Topic == "" {
			r.Topic = "orders"
		}
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	require.NoError(w.t, w.client.ProduceSync(ctx, records...).FirstErr())
}

// committed reads all that a reader of committed records finds in a topic.
func (w *world) committed(topic string) []*kgo.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	ends, err := kadm.NewClient(w.client).ListEndOffsets(ctx, topic)
	require.NoError(w.t, err)
	require.NoError(w.t, ends.Error())
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	client, err := kgo.NewClient(append(w.broker.ClientOpts(),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.KeepControlRecords(), // the end of a partition may be one
	)...)
	require.NoError(w.t, err)
	defer client.Close()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		require.NoError(w.t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return records
}

// await waits until that many orders are in, each with an outcome, and returns what was found.
func (w *world) await(c oracle.Config, orders int) oracle.Report {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	report, err := oracle.New(c, w.broker.ClientOpts()...).AwaitOutcomes(ctx, orders)
	require.NoError(w.t, err)
	return report
}

// audit is `orderflow audit`, in this process.
func (w *world) audit() audit.Report {
	w.t.Helper()
	report, err := w.tryAudit()
	require.NoError(w.t, err)
	return report
}

func (w *world) tryAudit() (audit.Report, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	return audit.Run(ctx, audit.Topics{
		Orders: "orders", Processed: "orders-processed", DLQ: "orders-dlq", State: "orders-state", Group: "orderflow",
	}, w.broker.ClientOpts()...)
}

// awaitWaiting waits until so many orders wait for a retry, in committed state.
func (w *world) awaitWaiting(n int64) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		found, err := w.tryAudit() // an error until the group has committed for the first time
		return err == nil && found.Waiting == n
	}, patience, 20*time.Millisecond, "orders that wait")
}

// awaitLog waits for a text in the log, where quotes are escaped.
func awaitLog(t *testing.T, p *child.Process, text string) {
	t.Helper()
	p.AwaitLog(t, strings.ReplaceAll(text, `"`, `\"`), patience)
}

// startRegistry serves a registry at an address; port 0 takes a free one.
func startRegistry(t *testing.T, address string) *devbroker.RegistryServer {
	t.Helper()
	registry, err := devbroker.StartRegistry(devbroker.RegistryOptions{Address: address, CanRead: order.CanRead})
	require.NoError(t, err)
	t.Cleanup(func() { _ = registry.Close() })
	return registry
}

// register registers a schema file and returns its id.
func register(t *testing.T, registry *devbroker.RegistryServer, file string) uint32 {
	t.Helper()
	schema, err := os.ReadFile(filepath.Join(child.Root(t), file))
	require.NoError(t, err)
	return registerText(t, registry, "orders-value", string(schema))
}

func registerText(t *testing.T, registry *devbroker.RegistryServer, subject, schema string) uint32 {
	t.Helper()
	body := `{"schema": ` + strconv.Quote(schema) + `}`
	res, err := http.Post(registry.URL()+"/subjects/"+subject+"/versions", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, string(answer))
	digits := strings.TrimFunc(string(answer), func(r rune) bool { return r < '0' || r > '9' })
	id, err := strconv.ParseUint(digits, 10, 32)
	require.NoError(t, err, string(answer))
	return uint32(id)
}

// avro encodes an order by the rules of the Avro specification, without the code under test.
func avro(id, product string, price float64) []byte {
	text := func(b []byte, s string) []byte {
		return append(binary.AppendVarint(b, int64(len(s))), s...)
	}
	b := text(text(nil, id), product)
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(price))
}

// framed puts the Confluent wire format's head before a record.
func framed(id uint32, record []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, id), record...)
}

// orderID returns an order id that the simulated failure strikes, or spares, at its usual rate.
func orderID(prefix string, fails bool) string {
	s := order.Simulator{Rate: 0.15, Mode: order.Sticky, Seed: 1}
	for n := 0; ; n++ {
		if id := fmt.Sprintf("%s-%d", prefix, n); s.Fails(id, 1) == fails {
			return id
		}
	}
}

// header returns the one value of a header.
func header(t *testing.T, r *kgo.Record, name string) string {
	t.Helper()
	i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == name })
	require.GreaterOrEqual(t, i, 0, "header %s of %s", name, place(r))
	rest := r.Headers[i+1:]
	require.False(t, slices.ContainsFunc(rest, func(h kgo.RecordHeader) bool { return h.Key == name }), "header %s of %s is there twice", name, place(r))
	return string(r.Headers[i].Value)
}

// place is what identifies a record.
func place(r *kgo.Record) string { return fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset) }
