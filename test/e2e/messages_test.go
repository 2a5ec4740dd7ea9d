package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

// edited writes a pipeline with one text in it replaced, as a user would edit it.
func edited(t *testing.T, pipeline, old, with string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(child.Root(t), pipeline))
	require.NoError(t, err)
	require.Contains(t, string(content), old)
	path := filepath.Join(t.TempDir(), filepath.Base(pipeline))
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(content), old, with, 1)), 0o600))
	return path
}

// Wrong configuration ends the program before anything starts, and says what is wrong where.
func TestWrongConfigurationIsNamedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	simulate, list, retry := "max_price: 1000000", "delays: [1s, 2s, 4s]", "backoff_retry:\n"
	for name, test := range map[string]struct {
		pipeline, old, with string // a pipeline and what is edited in it; or a whole one in with
		env                 map[string]string
		says                string
	}{
		"a delay that is none": {pipeline: consumer, old: list, with: "delays: [1s, 1x]",
			says: `path root.pipeline.processors.1: field delays.1: "1x": want a duration such as 500ms or 2s`},
		"a negative delay": {pipeline: consumer, old: list, with: "delays: [-1s]",
			says: `field delays.0: -1s: want`},
		"delays in both ways": {pipeline: consumer, old: list, with: "delays: [1s]\n        max_retries: 5",
			says: "give either delays, or initial_interval, multiplier, max_interval, jitter, max_retries"},
		"a field that does not exist": {pipeline: consumer, old: retry, with: retry + "        retries: 3\n",
			says: "field retries not recognised"},
		"a schema file that is missing": {pipeline: consumer, old: "order_decode:\n", with: "order_decode:\n        schema_path: config/missing.avsc\n",
			says: "path root.pipeline.processors.0: field schema_path: open config/missing.avsc: no such file or directory"},
		"a schema of something else": {pipeline: consumer, old: "order_decode:\n", with: "order_decode:\n        schema_path: config/topics.yaml\n",
			says: `field schema_path: "config/topics.yaml": `},
		"a maximum below 0": {pipeline: consumer, old: simulate, with: "max_price: -5",
			says: "field max_price: -5 is not allowed, must be a finite number above 0"},
		"a failure rate above 1": {pipeline: consumer, env: map[string]string{"FAILURE_RATE": "1.5"},
			says: "field simulate.rate: 1.5 is not allowed, must be from 0 to 1"},
		"a failure rate that is no number": {pipeline: consumer, env: map[string]string{"FAILURE_RATE": "often"},
			says: "often"},
		"a failure mode that there is not": {pipeline: consumer, env: map[string]string{"FAILURE_MODE": "rarely"},
			says: "rarely"},
		"a registry that is no address": {pipeline: consumer, env: map[string]string{"SCHEMA_REGISTRY_URL": "localhost:8081"},
			says: `field registry.url: "localhost:8081"`},
		"a commit interval above the transaction timeout": {pipeline: consumer, env: map[string]string{"COMMIT_INTERVAL": "20s"},
			says: "field transaction_timeout: 10s is too short: it must be longer than commit_interval, which is 20s"},
		"the state in the topic of the orders": {pipeline: consumer, env: map[string]string{"STATE_TOPIC": "orders"},
			says: `field state_topic: "orders" is also one of topics: the state needs a topic of its own`},
		"the output without its input": {with: "input: {generate: {mapping: root = 1}}\noutput: {kafka_transactional: {topic: orders-processed}}\n",
			says: "output kafka_transactional needs an input kafka_transactional in the same stream: it writes in that input's transaction"},
		"a seed of orders below 0": {pipeline: producer, env: map[string]string{"ORDER_SEED": "-1"},
			says: "argument seed: -1 is not allowed, must be 0 or more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := test.pipeline
			switch {
			case test.pipeline == "":
				path = filepath.Join(t.TempDir(), "pipeline.yaml")
				require.NoError(t, os.WriteFile(path, []byte(test.with), 0o600))
			case test.old != "":
				path = edited(t, test.pipeline, test.old, test.with)
			}
			env := settings("127.0.0.1:1", test.env)
			run := orderflow(t, env, "run", path)
			require.Equal(t, 1, run.status, run.stderr)
			require.Contains(t, run.stderr, test.says)
			require.NotContains(t, run.stderr, "Launching")
			require.Empty(t, run.stdout)
		})
	}
}

func TestABrokerThatIsNotThereIsNamedAndWaitedFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ pipeline, says string }{
		{consumer, "Failed to connect to kafka_transactional: connecting to [127.0.0.1:1]: unable to dial: dial tcp 127.0.0.1:1: connect: connection refused"},
		{atLeastOnce, "Failed to connect to redpanda: unable to dial: dial tcp 127.0.0.1:1: connect: connection refused"},
		{producer, "Failed to connect to kafka_franz: unable to dial: dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(filepath.Base(test.pipeline), func(t *testing.T) {
			t.Parallel()
			p := child.Run(t, test.pipeline, settings("127.0.0.1:1", nil))
			awaitLog(t, p, test.says)
			select {
			case <-p.Done():
				t.Fatal("it must go on trying")
			default:
			}
		})
	}
}

func TestAStateTopicThatDoesNotFitIsNamedAndWaitedFor(t *testing.T) {
	t.Parallel()
	compacted := map[string]*string{"cleanup.policy": kadm.StringPtr("compact")}
	for name, test := range map[string]struct {
		partitions int32 // 0: it does not exist
		configs    map[string]*string
		says       string
	}{
		"missing":              {0, nil, `state topic "state" does not exist: create it with cleanup.policy=compact and as many partitions as [orders]`},
		"not compacted":        {6, nil, `state topic "state" is not compacted: set its cleanup.policy to compact`},
		"of another partition": {3, compacted, `state topic "state" has 3 partitions, but topic "orders" has 6: it needs as many`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			admin := kadm.NewClient(w.client)
			if test.partitions > 0 {
				_, err := admin.CreateTopic(t.Context(), test.partitions, 1, test.configs, "state")
				require.NoError(t, err)
			}
			w.produce(failing(0, 6)...)
			p := w.run(consumer, map[string]string{"STATE_TOPIC": "state"})
			awaitLog(t, p, test.says)
			require.Empty(t, w.committed("orders-processed"))

			// It goes on by itself when the topic is as it has to be.
			if test.partitions > 0 {
				_, err := admin.DeleteTopic(t.Context(), "state")
				require.NoError(t, err)
			}
			_, err := admin.CreateTopic(t.Context(), 6, 1, compacted, "state")
			require.NoError(t, err)
			require.NoError(t, w.await(oracle.Config{}, 6).ExactlyOnce())
			require.NoError(t, p.Terminate(patience))
		})
	}
}

// An outage is no failure of an order: it fills no dead-letter topic and uses up no retry.
func TestARegistryThatCannotBeReachedMakesOrdersWait(t *testing.T) {
	t.Parallel()
	for name, pipeline := range map[string]string{"transactional": consumer, "at least once": atLeastOnce} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			// The first schema of a registry has the id 1. The address is free now, and is again
			// when the registry comes: nothing else listens on it meanwhile.
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			address := listener.Addr().String()
			require.NoError(t, listener.Close())
			var records []*kgo.Record
			for i := range 12 {
				id := orderID(fmt.Sprintf("framed-%d", i), false)
				records = append(records, &kgo.Record{Topic: "orders", Key: []byte(id), Value: framed(1, avro(id, "Pen", 1.5)), Partition: int32(i % 6)})
			}
			w.produce(records...)
			p := w.run(pipeline, map[string]string{"SCHEMA_REGISTRY_URL": "http://" + address})
			awaitLog(t, p, "Schema registry http://"+address+" cannot be reached, messages wait: ")
			require.Empty(t, w.committed("orders-dlq"))
			require.Empty(t, w.committed("orders-processed"))

			registry := startRegistry(t, address)
			require.EqualValues(t, 1, register(t, registry, "config/schemas/order.avsc"))
			report := w.await(oracle.Config{IgnoreHeaders: true}, 12)
			require.NoError(t, report.ExactlyOnce())
			require.Equal(t, 12, report.Processed)
			awaitLog(t, p, "Schema registry http://"+address+" is back")
			require.NoError(t, p.Terminate(patience))
		})
	}
}

func TestTopicsThatAreMissingAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.run(consumer, map[string]string{"ORDERS_TOPIC": "no-orders"})
	awaitLog(t, p, `topic "no-orders" does not exist`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := kadm.NewClient(w.client).CreateTopic(ctx, 6, 1, nil, "no-orders")
	require.NoError(t, err)
	awaitLog(t, p, "Input type kafka_transactional is now active")
	require.NoError(t, p.Terminate(patience))
}
