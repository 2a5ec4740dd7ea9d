package topics

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/orderflow/orderflow/config"
	"github.com/orderflow/orderflow/internal/redrive"
)

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestBuiltInTopics(t *testing.T) {
	topics, err := Parse(config.Topics, env())
	require.NoError(t, err)
	byName := map[string]Topic{}
	for _, topic := range topics {
		byName[topic.Name] = topic
		require.EqualValues(t, 1, topic.ReplicationFactor, topic.Name)
		require.NotEmpty(t, topic.Configs["cleanup.policy"], topic.Name)
	}
	require.Len(t, byName, 6)
	require.Equal(t, byName["orders"].Partitions, byName["orders-state"].Partitions,
		"the state of a partition of orders is in the partition with its number")
	require.Equal(t, "compact", byName["orders-state"].Configs["cleanup.policy"])
	require.Equal(t, "delete", byName["orders-processed"].Configs["cleanup.policy"])
	require.NotZero(t, byName["orders-dlq"].Partitions)
	require.Equal(t, byName["orders-dlq"].Partitions, byName[redrive.Topic("orders-dlq")].Partitions)
	require.Equal(t, "compact", byName[redrive.Topic("orders-dlq")].Configs["cleanup.policy"])
	require.Equal(t, byName["orders-dlq"].Configs, byName["orders-dlq-parking"].Configs, "it takes and keeps what comes from there")
}

func TestBuiltInTopicsReadTheEnvironment(t *testing.T) {
	topics, err := Parse(config.Topics, env("ORDERS_TOPIC", "in", "PROCESSED_TOPIC", "out", "DLQ_TOPIC", "dead",
		"STATE_TOPIC", "state", "TOPIC_REPLICATION", "3", "TOPIC_MIN_INSYNC", "2"))
	require.NoError(t, err)
	var names []string
	for _, topic := range topics {
		names = append(names, topic.Name)
		require.EqualValues(t, 3, topic.ReplicationFactor)
		require.Equal(t, "2", topic.Configs["min.insync.replicas"])
	}
	require.Equal(t, []string{"in", "out", "dead", "dead-redrives", "dead-parking", "state"}, names)
}

func TestParse(t *testing.T) {
	topics, err := Parse([]byte(`
replication_factor: 2
topics:
  # ${IN_A_COMMENT} is nobody's variable
  - {name: a, partitions: 3}
  - {name: "${B:b}-${B:b}", partitions: -1, replication_factor: -1, configs: {retention.ms: 1000, cleanup.policy: "compact,delete"}}
`), env("B", "x"))
	require.NoError(t, err)
	require.Equal(t, []Topic{
		{Name: "a", Partitions: 3, ReplicationFactor: 2},
		{Name: "x-x", Partitions: -1, ReplicationFactor: -1, Configs: map[string]string{"retention.ms": "1000", "cleanup.policy": "compact,delete"}},
	}, topics)

	topics, err = Parse([]byte("topics: [{name: a, partitions: 1}]"), env())
	require.NoError(t, err)
	require.EqualValues(t, -1, topics[0].ReplicationFactor, "by default the broker decides")
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	tests := map[string]struct{ content, problem string }{
		"an empty file":         {"", "field topics: is empty, expected at least one topic"},
		"no topics":             {"topics: []", "field topics: is empty"},
		"an unknown field":      {"topics:\n  - {name: a, partition: 3}", "line 2: field partition: is unknown"},
		"an unknown top field":  {"topic: []", "line 1: field topic: is unknown"},
		"a number of words":     {"topics: [{name: a, partitions: six}]", "line 1: cannot unmarshal !!str `six` into int32"},
		"no YAML":               {"topics: [", "yaml: line 1"},
		"no name":               {"topics: [{partitions: 3}]", "field topics[0].name: is empty"},
		"a wrong name":          {"topics: [{name: 'a b', partitions: 3}]", `field topics[0].name: "a b", expected 1 to 249 of a-z A-Z 0-9 . _ -`},
		"no partitions":         {"topics: [{name: a}]", "field topics[0].partitions: 0 of topic a, expected a number above 0"},
		"negative partitions":   {"topics: [{name: ok, partitions: 1}, {name: a, partitions: -3}]", "field topics[1].partitions: -3 of topic a"},
		"a topic twice":         {"topics: [{name: a, partitions: 3}, {name: a, partitions: 3}]", `field topics[1].name: "a" is already the name of topics[0]`},
		"replication of 0":      {"replication_factor: 0\ntopics: [{name: a, partitions: 3}]", "replication_factor: 0, expected a number above 0, or -1"},
		"a topic's replication": {"topics: [{name: a, partitions: 3, replication_factor: -2}]", "field topics[0].replication_factor: -2"},
		"a config of nothing":   {"topics: [{name: a, partitions: 3, configs: {retention.ms: ''}}]", `field topics[0].configs.retention.ms: "" of topic a`},
		"an unset variable":     {"topics: [{name: '${A}', partitions: 3}]", "variable A is not set and has no default"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(test.content), env())
			require.ErrorContains(t, err, test.problem)
			require.NotContains(t, err.Error(), "topics.Topic", "names of Go types tell a user nothing")
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(config.Topics))
	f.Add("topics: [{name: '${A:b}', partitions: 3, configs: {a: 1}}]")
	f.Fuzz(func(t *testing.T, content string) {
		topics, err := Parse([]byte(content), env())
		if err != nil {
			return
		}
		// What was accepted is accepted again when it is written out.
		again, err := yaml.Marshal(map[string]any{"topics": topics})
		require.NoError(t, err)
		_, err = Parse(again, env())
		require.NoError(t, err)
	})
}
