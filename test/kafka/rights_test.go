package kafka

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/secured"
)

var (
	quoted     = regexp.MustCompile("`([^`]+)`")
	operations = map[string]kmsg.ACLOperation{
		"READ": kmsg.ACLOperationRead, "WRITE": kmsg.ACLOperationWrite, "CREATE": kmsg.ACLOperationCreate,
		"DESCRIBE": kmsg.ACLOperationDescribe, "DESCRIBE_CONFIGS": kmsg.ACLOperationDescribeConfigs,
	}
)

// Each gets the rights of its row in the README, and no others.
func TestTheLeastRightsOfTheReadmeAreEnough(t *testing.T) {
	t.Parallel()
	certificate := secured.Certify(t)
	cluster := Start(t, Options{Secured: &certificate, Properties: map[string]string{
		"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":           "User:ANONYMOUS", // whoever comes without TLS: this test, and the broker itself
	}})
	admin := newSite(t, cluster, "other")
	maps.Copy(admin.env, map[string]string{
		"ORDERS_TOPIC": "orders", "PROCESSED_TOPIC": "orders-processed", "DLQ_TOPIC": "orders-dlq", "STATE_TOPIC": "orders-state", "CONSUMER_GROUP": "orderflow",
	})
	users := admin.usersOfReadme(secured.Env(address(cluster.brokers[0].secured), certificate))
	as := func(who string) *site {
		require.Contains(t, users, who)
		s := *admin
		s.env = maps.Clone(admin.env)
		maps.Copy(s.env, users[who])
		return &s
	}

	require.Contains(t, string(as("topics create").orderflow("topics", "create")), "created")
	consumes := as("consumer.yaml")
	consumes.env["FAILURE_RATE"], consumes.env["FAILURE_MODE"], consumes.env["BREAKER_RATIO"] = "1", "transient", "0"
	p := consumes.run()
	producer := as("producer.yaml")
	producer.env["ORDER_COUNT"], producer.env["ORDER_INTERVAL"] = "2", "10ms"
	producer.orderflow("run", filepath.Join(child.Root(t), "config/pipelines/producer.yaml"))
	admin.order("Pen", 0)
	admin.awaitProcessed(2) // after a retry
	consumes.stop(p)
	p = consumes.run() // it has a state to read now
	require.Contains(t, string(as("dlq list").orderflow("dlq", "list")), "1 open dead letters")
	require.Contains(t, string(as("dlq redrive").orderflow("dlq", "redrive", "--map", "root.price = 1")), "1  sent")
	require.Contains(t, string(as("dlq runs").orderflow("dlq", "runs")), "root.price = 1")
	admin.awaitProcessed(3)
	consumes.stop(p)
	require.Contains(t, string(as("dlq show").orderflow("dlq", "show", admin.first("orders-dlq"))), "sent again")
	require.Contains(t, string(as("audit").orderflow("audit")), "all: 4 orders = 3 processed + 1 dead-lettered + 0 waiting")
	require.Contains(t, string(as("aggregates").orderflow("aggregates", "--json")), `"overall":{"count":3,`)
	require.NotContains(t, p.Log(), "AUTHORIZATION_FAILED")

	monitor := child.Run(t, "config/pipelines/dlq_monitor.yaml", as("dlq_monitor.yaml").env)
	monitor.AwaitLog(t, "New group of dead letters", child.Patience)
	simple := child.Run(t, "config/pipelines/consumer_at_least_once.yaml", as("consumer_at_least_once.yaml").env)
	admin.write(1)
	admin.order("Pen", 0)
	admin.awaitProcessed(4)
	admin.await("a second dead letter", child.Patience, func() (any, bool) {
		found := admin.count("orders-dlq")
		return found, found == 2
	})
	require.NoError(t, simple.Terminate(15*time.Second))
	require.NoError(t, monitor.Terminate(15*time.Second))
}

// first is the place of the first record of a topic that has records in one partition only.
func (s *site) first(topic string) string {
	s.t.Helper()
	ends, err := s.admin.ListEndOffsets(s.t.Context(), topic)
	require.NoError(s.t, err)
	for partition, end := range ends[topic] {
		if end.Offset > 0 {
			return fmt.Sprintf("%s/%d/0", topic, partition)
		}
	}
	s.t.Fatalf("topic %s is empty", topic)
	return ""
}

// usersOfReadme makes a user for each row of the README's table of rights, and returns by what
// environment each command and pipeline comes as its user.
func (s *site) usersOfReadme(env map[string]string) map[string]map[string]string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(child.Root(s.t), "README.md"))
	require.NoError(s.t, err)
	_, table, found := strings.Cut(string(text), "\n| for | READ | WRITE | other rights |\n|---|---|---|---|\n")
	require.True(s.t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	users := map[string]map[string]string{}
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(row), "|"), "|"), "|")
		require.Len(s.t, cells, 4, row)
		names := strings.Split(cells[0], ",")
		user := strings.Trim(names[0], " `")
		for _, name := range names {
			users[strings.Trim(name, " `")] = maps.Clone(env)
			users[strings.Trim(name, " `")]["KAFKA_SASL_USER"] = user
		}
		made, err := s.admin.AlterUserSCRAMs(s.t.Context(), nil, []kadm.UpsertSCRAM{
			{User: user, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: secured.Password},
		})
		require.NoError(s.t, err)
		require.NoError(s.t, made.Error())
		s.grant(user, "READ", cells[1])
		s.grant(user, "WRITE", cells[2])
		for right := range strings.SplitSeq(cells[3], ";") {
			on, ops, _ := strings.Cut(right, ":")
			for op := range strings.SplitSeq(ops, ",") {
				s.grant(user, strings.TrimSpace(op), on)
			}
		}
	}
	return users
}

// grant allows an operation on resources such as "topics `a`, `b`; group `c-*`".
func (s *site) grant(user, op, on string) {
	s.t.Helper()
	for resources := range strings.SplitSeq(on, ";") {
		for _, name := range quoted.FindAllStringSubmatch(resources, -1) {
			pattern := kadm.ACLPatternLiteral
			prefix, isPrefix := strings.CutSuffix(name[1], "*")
			if isPrefix {
				pattern = kadm.ACLPatternPrefixed
			}
			require.Contains(s.t, operations, op)
			b := kadm.NewACLs().Allow("User:" + user).AllowHosts().Operations(operations[op]).ResourcePatternType(pattern)
			switch kind := strings.Fields(resources)[0]; kind {
			case "topic", "topics":
				b = b.Topics(prefix)
			case "group", "groups":
				b = b.Groups(prefix)
			case "transactional":
				b = b.TransactionalIDs(prefix)
			default:
				s.t.Fatalf("the README gives rights on %q", kind)
			}
			made, err := s.admin.CreateACLs(s.t.Context(), b)
			require.NoError(s.t, err)
			for _, acl := range made {
				require.NoError(s.t, acl.Err)
			}
		}
	}
}
