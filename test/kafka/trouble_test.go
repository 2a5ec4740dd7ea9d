package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/cmd/orderflow/audit"
	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

// site is a set of topics and a consumer group of its own, so that several cases share a cluster.
type site struct {
	t       *testing.T
	cluster *Cluster
	admin   *kadm.Client
	client  *kgo.Client
	enc     *order.Encoder
	env     map[string]string
	written int
}

func newSite(t *testing.T, cluster *Cluster, name string) *site {
	s := &site{t: t, cluster: cluster, env: map[string]string{
		"KAFKA_BROKERS": strings.Join(cluster.Addresses(), ","), "HTTP_ADDRESS": "127.0.0.1:0",
		"SESSION_TIMEOUT": "6s", "COMMIT_INTERVAL": "200ms", "FAILURE_RATE": "0",
	}}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Addresses()...), kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	s.client, s.admin = client, kadm.NewClient(client)
	schema, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	s.enc, err = order.NewEncoder(schema)
	require.NoError(t, err)
	s.rename(name)
	return s
}

// rename gives everything a name of its own, and makes the topics that are not there.
func (s *site) rename(name string) {
	s.t.Helper()
	for variable, topic := range map[string]string{"ORDERS_TOPIC": "orders", "PROCESSED_TOPIC": "processed", "DLQ_TOPIC": "dlq", "STATE_TOPIC": "state", "CONSUMER_GROUP": "group"} {
		if variable != "ORDERS_TOPIC" || s.env[variable] == "" {
			s.env[variable] = name + "-" + topic
		}
	}
	s.orderflow("topics", "create")
}

// orderflow runs a command of the binary and returns its standard output.
func (s *site) orderflow(args ...string) []byte {
	s.t.Helper()
	cmd := exec.Command(child.Orderflow(s.t), args...)
	cmd.Env = cmd.Environ()
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		s.t.Fatalf("orderflow %v: %v\n%s%s", args, err, out, exit.Stderr)
	}
	require.NoError(s.t, err)
	return out
}

// run starts the consumer, which looks for new partitions every 2 s.
func (s *site) run() *child.Process {
	s.t.Helper()
	env := []string{"LOG_LEVEL=INFO"}
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	return child.Start(s.t, child.Command{
		Name: "consumer", Path: child.Orderflow(s.t), Dir: child.Root(s.t), Env: env,
		Args: []string{"run", "--set", "input.kafka_transactional.metadata_max_age=2s", consumer},
	})
}

// write writes n sound orders.
func (s *site) write(n int) {
	s.t.Helper()
	for range n {
		s.order("Pen", 1.5)
	}
}

// order writes one order; a price of 0 makes it a dead letter.
func (s *site) order(product string, price float64) {
	s.t.Helper()
	id := fmt.Sprintf("o-%03d", s.written)
	s.written++
	value, err := s.enc.Append(nil, order.Order{ID: id, Product: product, Price: price})
	require.NoError(s.t, err)
	ctx, cancel := context.WithTimeout(s.t.Context(), child.Patience)
	defer cancel()
	require.NoError(s.t, s.client.ProduceSync(ctx, &kgo.Record{Topic: s.env["ORDERS_TOPIC"], Key: []byte(id), Value: value}).FirstErr())
}

// count counts the committed records of a topic.
func (s *site) count(topic string) int {
	s.t.Helper()
	ranges, err := committed.Stable(s.t.Context(), s.admin, topic)
	require.NoError(s.t, err)
	n, err := committed.Read(s.t.Context(), []kgo.Opt{kgo.SeedBrokers(s.cluster.Addresses()...)}, topic, ranges, func(*kgo.Record) error { return nil })
	require.NoError(s.t, err)
	return int(n)
}

// await polls until ok, at most for the given time; then it fails with what was found last.
func (s *site) await(what string, patience time.Duration, check func() (any, bool)) {
	s.t.Helper()
	over := time.After(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		found, ok := check()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-over:
			s.t.Fatalf("waiting for %s: not within %v; found %v", what, patience, found)
		}
	}
}

// awaitProcessed waits for the number of processed orders.
func (s *site) awaitProcessed(n int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d processed orders", n), child.Patience, func() (any, bool) {
		found := s.count(s.env["PROCESSED_TOPIC"])
		return found, found >= n
	})
}

// awaitAudit waits until the audit is as wanted, and returns it.
func (s *site) awaitAudit(patience time.Duration, wanted func(audit.Report) bool) audit.Report {
	s.t.Helper()
	var report audit.Report
	s.await("the audit", patience, func() (any, bool) {
		var err error
		report, err = audit.Run(s.t.Context(), audit.Topics{
			Orders: s.env["ORDERS_TOPIC"], Processed: s.env["PROCESSED_TOPIC"], DLQ: s.env["DLQ_TOPIC"], State: s.env["STATE_TOPIC"], Group: s.env["CONSUMER_GROUP"],
		}, kgo.SeedBrokers(s.cluster.Addresses()...))
		return fmt.Sprint(report.Sums, err), err == nil && wanted(report)
	})
	return report
}

// exactlyOnce waits until n orders have an outcome each and holds them against the oracle, `audit`
// and `aggregates`.
func (s *site) exactlyOnce(n int, patience time.Duration) oracle.Report {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	report, err := oracle.New(oracle.Config{Orders: s.env["ORDERS_TOPIC"], Processed: s.env["PROCESSED_TOPIC"], DeadLetters: s.env["DLQ_TOPIC"]},
		kgo.SeedBrokers(s.cluster.Addresses()...)).AwaitOutcomes(ctx, n)
	require.NoError(s.t, err)
	require.NoError(s.t, report.ExactlyOnce())
	require.Equal(s.t, n, report.Orders)
	require.NoError(s.t, report.Aggregates.CompareJSON(s.orderflow("aggregates", "--json")))
	var sums audit.Report
	require.NoError(s.t, json.Unmarshal(s.orderflow("audit", "--json"), &sums))
	require.True(s.t, sums.OK)
	require.EqualValues(s.t, n, sums.Orders)
	return report
}

// alive fails if a process has ended.
func (s *site) alive(p *child.Process) {
	s.t.Helper()
	select {
	case <-p.Done():
		s.t.Fatalf("the consumer ended:\n%s", p.Tail(20))
	default:
	}
}

func (s *site) stop(p *child.Process) {
	s.t.Helper()
	s.alive(p)
	require.NoError(s.t, p.Terminate(15*time.Second))
}

// limit sets what a topic takes, and waits until the broker knows of it.
func (s *site) limit(topic, bytes string) {
	s.t.Helper()
	const name = "max.message.bytes"
	_, err := s.admin.AlterTopicConfigs(s.t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &bytes}}, topic)
	require.NoError(s.t, err)
	s.await(name+" of "+topic, child.Patience, func() (any, bool) {
		found, err := s.admin.DescribeTopicConfigs(s.t.Context(), topic)
		return found, err == nil && slices.ContainsFunc(found[0].Configs, func(c kadm.Config) bool { return c.Key == name && c.MaybeValue() == bytes })
	})
}

func (s *site) delete(topic string) {
	s.t.Helper()
	_, err := s.admin.DeleteTopic(s.t.Context(), topic)
	require.NoError(s.t, err)
	s.client.PurgeTopicsFromClient(topic)
	s.await("the end of "+topic, child.Patience, func() (any, bool) {
		found, err := s.admin.ListTopics(s.t.Context(), topic)
		return found, err == nil && !found.Has(topic)
	})
}

// ends returns where the partitions of the orders end.
func (s *site) ends() map[int32]int64 {
	s.t.Helper()
	listed, err := s.admin.ListEndOffsets(s.t.Context(), s.env["ORDERS_TOPIC"])
	require.NoError(s.t, err)
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends
}

// reset sets the group's offsets, which nobody may use at the time.
func (s *site) reset(to map[int32]int64) {
	s.t.Helper()
	var offsets kadm.Offsets
	for partition, at := range to {
		offsets.Add(kadm.Offset{Topic: s.env["ORDERS_TOPIC"], Partition: partition, At: at, LeaderEpoch: -1})
	}
	require.NoError(s.t, s.admin.CommitAllOffsets(s.t.Context(), s.env["CONSUMER_GROUP"], offsets))
}

// retain deletes the orders before the given offsets, as retention does.
func (s *site) retain(from map[int32]int64) {
	s.t.Helper()
	var offsets kadm.Offsets
	for partition, at := range from {
		offsets.Add(kadm.Offset{Topic: s.env["ORDERS_TOPIC"], Partition: partition, At: at, LeaderEpoch: -1})
	}
	deleted, err := s.admin.DeleteRecords(s.t.Context(), offsets)
	require.NoError(s.t, err)
	require.NoError(s.t, deleted.Error())
}
