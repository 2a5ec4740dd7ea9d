package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
	"github.com/orderflow/orderflow/test/oracle"
)

// system is Apache Kafka with the topics, a fake registry with the schema, and the variables that
// the pipelines need to find them.
type system struct {
	t        *testing.T
	brokers  string
	schemaID int
	env      map[string]string
	judge    *oracle.Oracle
}

func newSystem(t *testing.T, pipeline string, env map[string]string) *system {
	t.Helper()
	cluster := kafka.Start(t, kafka.Options{})
	registry := srfake.New()
	t.Cleanup(registry.Close)
	client, err := sr.NewClient(sr.URLs(registry.URL()))
	require.NoError(t, err)
	created, err := client.CreateSchema(t.Context(), "orders-value", sr.Schema{Schema: schemas.Order, Type: sr.TypeAvro})
	require.NoError(t, err)

	s := &system{
		t:        t,
		brokers:  strings.Join(cluster.Addresses(), ","),
		schemaID: created.ID,
		env: map[string]string{
			"KAFKA_BROKERS":       strings.Join(cluster.Addresses(), ","),
			"SCHEMA_REGISTRY_URL": registry.URL(),
			"HTTP_ADDRESS":        "127.0.0.1:0",
			"FAILURE_SEED":        "7",
		},
		judge: oracle.New(oracle.Config{IgnoreHeaders: pipeline == atLeastOnce}, kgo.SeedBrokers(cluster.Addresses()...)),
	}
	maps.Copy(s.env, env)
	topics := exec.Command(child.Orderflow(t), "topics", "create")
	topics.Dir = child.Root(t)
	topics.Env = append(topics.Environ(), "KAFKA_BROKERS="+s.brokers)
	out, err := topics.CombinedOutput()
	require.NoError(t, err, string(out))
	return s
}

// run starts a pipeline of config/pipelines, with variables of its own.
func (s *system) run(name string, vars ...string) *child.Process {
	s.t.Helper()
	env := maps.Clone(s.env)
	for i := 0; i < len(vars); i += 2 {
		env[vars[i]] = vars[i+1]
	}
	p := child.Run(s.t, "config/pipelines/"+name+".yaml", env)
	p.AwaitLog(s.t, "Input type", child.Patience) // "is now active": from here on it can be stopped in good order
	return p
}

func (s *system) produce(args ...string) []Record {
	s.t.Helper()
	return Produce(s.t, append(args, "--brokers", s.brokers, "--topic", "orders", "--schema-id", strconv.Itoa(s.schemaID))...)
}

func (s *system) read(topic string) []Record {
	s.t.Helper()
	return Read(s.t, s.brokers, topic)
}

// await waits until that many orders have an outcome each, as long as the consumer runs.
func (s *system) await(consumer *child.Process, orders int) oracle.Report {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), child.Patience)
	defer cancel()
	go func() {
		select {
		case <-consumer.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	report, err := s.judge.AwaitOutcomes(ctx, orders)
	require.NoError(s.t, err)
	require.Equal(s.t, orders, report.Orders)
	return report
}

// consumers are the pipelines that the same is asked of.
var consumers = []string{"consumer", atLeastOnce}

// atLeastOnce is the consumer on the host's own Kafka parts, which keep less of a record: they
// take a null key for an empty one, and make one header of those that repeat.
const atLeastOnce = "consumer_at_least_once"

func forEachConsumer(t *testing.T, test func(t *testing.T, pipeline string)) {
	for _, pipeline := range consumers {
		t.Run(pipeline, func(t *testing.T) {
			t.Parallel() // each has a broker of its own, and mostly waits
			test(t, pipeline)
		})
	}
}

func TestOrdersOfThreeProducersGoTheirWay(t *testing.T) {
	forEachConsumer(t, threeProducers)
}

func threeProducers(t *testing.T, pipeline string) {
	s := newSystem(t, pipeline, map[string]string{"FAILURE_RATE": "0.15", "FAILURE_MODE": "sticky"})
	consumer := s.run(pipeline)
	producer := s.run("producer", "ORDER_COUNT", "100", "ORDER_INTERVAL", "10ms")
	written := s.produce("orders", "--count", "100", "--prefix", "plain")
	written = append(written, s.produce("orders", "--count", "100", "--prefix", "framed", "--framing", "confluent")...)
	require.Len(t, written, 200)
	require.NoError(t, producer.Wait(child.Patience))

	report := s.await(consumer, 300)
	require.NoError(t, report.ExactlyOnce(), "nothing was restarted")
	require.NoError(t, consumer.Terminate(20*time.Second))

	// The dead letters are those that the seed says, tried four times each.
	simulator := order.Simulator{Rate: 0.15, Mode: order.Sticky, Seed: 7}
	doomed := 0
	for _, r := range s.read("orders") {
		if simulator.Fails(string(r.Key), 1) {
			doomed++
		}
	}
	require.Equal(t, doomed, report.DeadLettered)
	require.Equal(t, map[string]int{"transient": doomed}, report.Classes)
	for _, retry := range report.Retries {
		require.Equal(t, doomed, retry.Count)
		t.Logf("retries came late by: median %v, p99 %v, max %v", retry.Median, retry.P99, retry.Max)
	}

	// The independent client sees the same.
	sources := map[string]Record{}
	for _, r := range written {
		sources[r.Origin()] = r
	}
	letters := s.read("orders-dlq")
	require.Len(t, letters, doomed)
	for _, letter := range letters {
		requireContract(t, letter)
		text, _ := letter.Last("dlq_error")
		require.Equal(t, "Max retries exceeded: Simulated processing failure", text)
		attempts, _ := letter.Last("dlq_attempts")
		require.Equal(t, "4", attempts)
		id, _ := letter.Last("dlq_id")
		if source, ok := sources[id]; ok {
			require.Equal(t, source.Value, letter.Value)
		}
	}
	var sum big.Rat
	results := s.read("orders-processed")
	for _, r := range results {
		var body struct{ Price json.Number }
		require.NoError(t, json.Unmarshal(r.Value, &body))
		price, ok := new(big.Rat).SetString(body.Price.String())
		require.True(t, ok)
		sum.Add(&sum, price)
		if source, ok := sources[r.All("origin")[0]]; ok {
			require.Equal(t, source.Key, r.Key)
		}
	}
	require.Len(t, results, report.Processed)
	places, _ := sum.FloatPrec()
	require.Equal(t, sum.FloatString(places), report.Aggregates.Overall.Sum)
	require.Contains(t, consumer.Log(), report.Aggregates.Overall.Sum, "the summary at the end has the exact sum")
}

func TestAStopInTheMiddleOfAWaitLosesNothing(t *testing.T) {
	forEachConsumer(t, stopInTheMiddle)
}

func stopInTheMiddle(t *testing.T, pipeline string) {
	s := newSystem(t, pipeline, map[string]string{"FAILURE_RATE": "1", "FAILURE_MODE": "sticky", "BREAKER_RATIO": "0"})
	consumer := s.run(pipeline)
	s.produce("orders", "--count", "20")

	// Nothing tells from outside that an order waits; but its waits take 7 s, and starting less.
	<-time.After(4 * time.Second)
	begun := time.Now()
	require.NoError(t, consumer.Signal(syscall.SIGTERM))
	require.NoError(t, consumer.Wait(child.Patience))
	t.Logf("stopped in %v", time.Since(begun).Round(time.Millisecond))
	report, err := s.judge.Read(t.Context())
	require.NoError(t, err)
	if pipeline == atLeastOnce {
		// The host lets what it has taken up come to its end, for its shutdown_timeout.
		require.Equal(t, 20, report.Missing+report.DeadLettered)
	} else {
		require.Equal(t, 20, report.Missing, "a stop is no outcome")
	}

	consumer = s.run(pipeline)
	report = s.await(consumer, 20)
	require.NoError(t, report.ExactlyOnce(), "what was stopped had no outcome before")
	require.Equal(t, 20, report.DeadLettered)
	require.NoError(t, consumer.Terminate(20*time.Second))
}

// requireContract checks that a dead letter has every header of the contract, in its form.
func requireContract(t *testing.T, letter Record) {
	t.Helper()
	const (
		moment = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`
		number = `\d+`
	)
	for name, form := range map[string]string{
		"dlq_id":              `orders/\d+/\d+`,
		"dlq_class":           `permanent|transient`,
		"dlq_code":            `[a-z][a-z_]*`,
		"dlq_error":           `(?s).+`,
		"dlq_stage":           `.+`,
		"dlq_attempts":        `[1-4]`,
		"dlq_attempt_times":   moment + `(,` + moment + `){0,3}`,
		"dlq_first_failed_at": moment,
		"dlq_last_failed_at":  moment,
		"dlq_topic":           `orders`,
		"dlq_partition":       number,
		"dlq_offset":          number,
		"dlq_timestamp":       moment,
		"dlq_group":           `orderflow`,
		"dlq_redrives":        `0`,
	} {
		value, ok := letter.Last(name)
		require.True(t, ok, "header %s is missing", name)
		require.Regexp(t, fmt.Sprintf("^(%s)$", form), value, name)
	}
	id, _ := letter.Last("dlq_id")
	topic, _ := letter.Last("dlq_topic")
	partition, _ := letter.Last("dlq_partition")
	offset, _ := letter.Last("dlq_offset")
	require.Equal(t, id, topic+"/"+partition+"/"+offset)
}
