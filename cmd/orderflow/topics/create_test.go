package topics

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/test/kafka"
)

func TestDifferences(t *testing.T) {
	want := Topic{Name: "a", Partitions: 6, ReplicationFactor: 3, Configs: map[string]string{
		"cleanup.policy": "compact,delete", "min.cleanable.dirty.ratio": "0.05", "retention.ms": "1000"}}
	same := map[string]string{"cleanup.policy": "delete, compact", "min.cleanable.dirty.ratio": "0.050", "retention.ms": "1000", "other": "x"}
	tests := map[string]struct {
		topic      Topic
		partitions int32
		replicas   int16
		configs    map[string]string
		want       []Difference
	}{
		"none":                           {want, 6, 3, same, nil},
		"partitions":                     {want, 3, 3, same, []Difference{{"partitions", "3", "6"}}},
		"replicas":                       {want, 6, 1, same, []Difference{{"replication_factor", "1", "3"}}},
		"the broker's default is no aim": {Topic{Partitions: -1, ReplicationFactor: -1}, 3, 1, nil, nil},
		"configs by name": {want, 6, 3, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "min.cleanable.dirty.ratio": "0.5"},
			[]Difference{{"cleanup.policy", "delete", "compact,delete"}, {"min.cleanable.dirty.ratio", "0.5", "0.05"}, {"retention.ms", "-1", "1000"}}},
		"a config the broker does not know": {want, 6, 3, map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "1000"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, differences(test.topic, test.partitions, test.replicas, test.configs))
		})
	}
}

// runCommand runs `orderflow topics ARGS` against the app that main would build.
func runCommand(args ...string) (string, error) {
	var out bytes.Buffer
	app := &cli.App{Name: "orderflow", HelpName: "orderflow", Writer: &out, Commands: []*cli.Command{Command()}}
	err := app.Run(append([]string{"orderflow", "topics"}, args...))
	return out.String(), err
}

func startBroker(t *testing.T) (string, *kadm.Client) {
	t.Helper()
	broker, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Address()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return broker.Address(), kadm.NewClient(client)
}

func TestCreateTwice(t *testing.T) {
	address, admin := startBroker(t)
	out, err := runCommand("create", "--brokers", address)
	require.NoError(t, err)
	require.Contains(t, out, "orders-state         created\n")

	topics, err := admin.ListTopics(t.Context())
	require.NoError(t, err)
	require.Len(t, topics["orders"].Partitions, 6)
	configs, err := admin.DescribeTopicConfigs(t.Context(), "orders-state")
	require.NoError(t, err)
	found := map[string]string{}
	for _, c := range configs[0].Configs {
		found[c.Key] = c.MaybeValue()
	}
	require.Equal(t, "compact", found["cleanup.policy"])

	out, err = runCommand("create", "--brokers", address)
	require.NoError(t, err)
	require.Equal(t, "orders               exists, as listed\n"+
		"orders-processed     exists, as listed\n"+
		"orders-dlq           exists, as listed\n"+
		"orders-dlq-redrives  exists, as listed\n"+
		"orders-dlq-parking   exists, as listed\n"+
		"orders-state         exists, as listed\n", out)
}

// Somebody else made the topics a moment ago: they exist, but not yet for the broker that is asked.
func TestCreateRightAfterAnother(t *testing.T) {
	broker, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	_, err = runCommand("create", "--brokers", broker.Address())
	require.NoError(t, err)
	broker.Cluster().Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "orders", Err: kerr.UnknownTopicOrPartition, Count: 2},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "orders-dlq", Err: kerr.LeaderNotAvailable, Count: 2},
		kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Resource: "orders-state", Err: kerr.UnknownTopicOrPartition, Count: 2},
	)
	out, err := runCommand("create", "--brokers", broker.Address())
	require.NoError(t, err)
	require.Equal(t, 6, strings.Count(out, " exists, as listed\n"), out)

	broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "orders", Err: kerr.UnknownTopicOrPartition, Count: -1})
	out, err = runCommand("create", "--brokers", broker.Address(), "--timeout", "1s")
	require.Equal(t, exit.Failed, exit.Code(err))
	require.ErrorContains(t, err, "topic orders: comparing: ")
	require.Contains(t, out, "orders               failed\n")
}

func TestDifferenceIsShownAndNotChanged(t *testing.T) {
	address, admin := startBroker(t)
	_, err := admin.CreateTopic(t.Context(), 2, 1, nil, "orders-state")
	require.NoError(t, err)
	for range 2 {
		out, err := runCommand("create", "--brokers", address)
		require.NoError(t, err)
		require.Contains(t, out, "orders-state         exists, differs (not changed):\n"+
			"  partitions is 2, listed is 6\n"+
			"  cleanup.policy is delete, listed is compact\n")
	}
}

func TestOneTopicFailsTheOthersAreMade(t *testing.T) {
	address, admin := startBroker(t)
	path := filepath.Join(t.TempDir(), "topics.yaml")
	require.NoError(t, os.WriteFile(path, []byte("topics:\n"+
		"  - {name: wide, partitions: 1, replication_factor: 5}\n"+
		"  - {name: sound, partitions: 1}\n"), 0o644))
	out, err := runCommand("create", "--file", path, "--brokers", address)
	require.Equal(t, exit.Failed, exit.Code(err))
	require.ErrorContains(t, err, "topic wide: INVALID_REPLICATION_FACTOR")
	require.Equal(t, "wide                 failed\nsound                created\n", out)
	topics, err := admin.ListTopics(t.Context())
	require.NoError(t, err)
	require.Contains(t, topics, "sound")
}

func TestWrongCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "topics.yaml")
	require.NoError(t, os.WriteFile(path, []byte("topics: [{name: a, partitions: -3}]"), 0o644))
	tests := map[string]struct {
		args []string
		code int
		says string
	}{
		"no command":     {nil, exit.Wrong, "no command given"},
		"an argument":    {[]string{"create", "orders"}, exit.Wrong, `unexpected argument "orders"`},
		"no such file":   {[]string{"create", "--file", "missing.yaml"}, exit.Wrong, "missing.yaml"},
		"a wrong file":   {[]string{"create", "--file", path}, exit.Wrong, "reading topics from " + path + ": field topics[0].partitions: -3"},
		"no brokers":     {[]string{"create", "--brokers", " , "}, exit.Wrong, "expected at least one host:port"},
		"no time":        {[]string{"create", "--timeout", "0s"}, exit.Wrong, "flag --timeout: 0s, expected a duration above 0"},
		"nobody listens": {[]string{"create", "--brokers", "127.0.0.1:1", "--timeout", "300ms"}, exit.Failed, "creating topics on 127.0.0.1:1: connecting: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := runCommand(test.args...)
			require.Equal(t, test.code, exit.Code(err), "%v", err)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestApplyWaitsForABrokerThatStarts(t *testing.T) {
	// Take a port and give it back, so that the broker can start on it later.
	first, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	address := first.Address()
	first.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- Apply(ctx, &bytes.Buffer{}, []Topic{{Name: "a", Partitions: 1, ReplicationFactor: -1}}, kgo.SeedBrokers(address))
	}()
	second, err := devbroker.Start(devbroker.Options{Address: address})
	require.NoError(t, err)
	defer second.Close()
	require.NoError(t, <-done)
}

func TestCreateOnApacheKafka(t *testing.T) {
	kafka.Require(t)
	cluster := kafka.Start(t, kafka.Options{})
	brokers := strings.Join(cluster.Addresses(), ",")
	out, err := runCommand("create", "--brokers", brokers)
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(out, " created\n"), out)
	out, err = runCommand("create", "--brokers", brokers)
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(out, " exists, as listed\n"), out)

	t.Setenv("STATE_TOPIC", "wide")
	t.Setenv("TOPIC_REPLICATION", "3")
	out, err = runCommand("create", "--brokers", brokers)
	require.Equal(t, exit.Failed, exit.Code(err))
	require.ErrorContains(t, err, "topic wide: INVALID_REPLICATION_FACTOR")
	require.Contains(t, out, "  replication_factor is 1, listed is 3\n")
}
