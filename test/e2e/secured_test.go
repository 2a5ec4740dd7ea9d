package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
	"github.com/orderflow/orderflow/test/secured"
)

const redriveAll = "config/pipelines/dlq_redrive.yaml"

// succeed runs a command to its end, and returns what it printed.
func succeed(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	out := orderflow(t, env, args...)
	require.Equal(t, 0, out.status, "%v: %s", args, out.stderr)
	require.NotContains(t, out.stdout+out.stderr, secured.Secret, "%v", args)
	return out.stdout
}

// open returns how many dead letters `dlq list` finds.
func open(t *testing.T, env map[string]string) int {
	t.Helper()
	var list struct{ Open int }
	require.NoError(t, json.Unmarshal([]byte(succeed(t, env, "dlq", "list", "--json")), &list))
	return list.Open
}

// All pipelines and commands need no more than the environment to reach brokers and a registry
// that want TLS and a password.
func TestASecuredClusterIsReachedByTheEnvironmentAlone(t *testing.T) {
	t.Parallel()
	broker := secured.Start(t, tls.NoClientCert)
	more := map[string]string{"LOG_LEVEL": "DEBUG", "ORDER_COUNT": "40"}
	maps.Copy(more, broker.Env())
	registry := secured.StartRegistry(t)
	maps.Copy(more, registry.Env())
	env := settings(broker.Address, more)
	stock := maps.Clone(env)
	maps.Copy(stock, map[string]string{
		"PROCESSED_TOPIC": "stock-processed", "DLQ_TOPIC": "stock-dlq", "STATE_TOPIC": "stock-state", "CONSUMER_GROUP": "stock",
	})
	for _, names := range []map[string]string{env, stock} {
		require.Contains(t, succeed(t, names, "topics", "create"), names["DLQ_TOPIC"]+" ")
	}

	made := child.Run(t, producer, env)
	require.NoError(t, made.Wait(patience))
	running := []*child.Process{child.Run(t, consumer, env), child.Run(t, atLeastOnce, stock), child.Run(t, monitor, env)}
	var dead int
	for _, c := range []oracle.Config{{}, {Processed: "stock-processed", DeadLetters: "stock-dlq", IgnoreHeaders: true}} {
		report, err := oracle.New(c, broker.ClientOpts()...).AwaitOutcomes(t.Context(), 40)
		require.NoError(t, err)
		require.NoError(t, report.ExactlyOnce())
		dead = report.DeadLettered
	}
	require.Positive(t, dead)
	running[2].AwaitLog(t, "simulated_failure", patience)
	for _, p := range running {
		require.NoError(t, p.Terminate(patience))
		require.NotContains(t, p.Log(), secured.Secret)
	}

	require.Contains(t, succeed(t, env, "audit", "--json"), `"ok":true,"orders":40,`)
	var sums struct{ Overall struct{ Count int } }
	require.NoError(t, json.Unmarshal([]byte(succeed(t, env, "aggregates", "--json")), &sums))
	require.Equal(t, 40-dead, sums.Overall.Count)
	require.Equal(t, dead, open(t, env))
	known := `this.orderId.has_prefix("order-")` // it was decoded, by the schema of the registry
	require.Contains(t, succeed(t, env, "dlq", "list", "--where", known), fmt.Sprintf("%d open dead letters", dead))
	require.Contains(t, succeed(t, env, "dlq", "redrive", "--dry-run", "--where", known), fmt.Sprintf("%8d  would be sent", dead))
	require.Contains(t, succeed(t, env, "dlq", "redrive", "--limit", "1", "--map", "root.price = this.price + 1"), "1  sent")
	require.Equal(t, dead-1, open(t, env))
	rest := child.Run(t, redriveAll, env)
	require.NoError(t, rest.Wait(patience))
	require.Zero(t, open(t, env))
	var runs []redrive.Run
	require.NoError(t, json.Unmarshal([]byte(succeed(t, env, "dlq", "runs", "--json")), &runs))
	require.Len(t, runs, 2)
	for _, host := range []string{"lint", "echo"} { // commands that show a pipeline
		succeed(t, env, host, consumer)
	}
	require.Zero(t, registry.Refused())
}

func TestDeadLettersAreShownAndSentAgainWithAClientCertificate(t *testing.T) {
	t.Parallel()
	broker := secured.Start(t, tls.RequireAndVerifyClientCert)
	env := map[string]string{"KAFKA_SASL_PASSWORD": secured.Password}
	with := func(args ...string) []string {
		return append(args, "--brokers", broker.Address, "--tls-enabled", "--tls-ca", broker.Cert, "--tls-cert", broker.Cert, "--tls-key", broker.Key,
			"--sasl-mechanism", secured.Mechanism, "--user", secured.User)
	}
	succeed(t, env, with("topics", "create")...)
	client, err := kgo.NewClient(append(broker.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), deadLetters(3)...).FirstErr())

	require.Contains(t, succeed(t, env, with("dlq", "show", "orders/0/1")...), "simulated_failure")
	require.Contains(t, succeed(t, env, with("dlq", "redrive")...), "3  sent")
	require.Contains(t, succeed(t, env, with("dlq", "list")...), "0 open dead letters")
}

func TestAWrongPasswordEndsEachCommandAtOnce(t *testing.T) {
	t.Parallel()
	broker := secured.Start(t, tls.NoClientCert)
	refused := broker.Refuse()
	env := broker.Env()
	env["KAFKA_SASL_PASSWORD"] = "not it"
	for _, command := range []string{"topics create", "aggregates", "audit", "dlq list", "dlq show orders/0/0", "dlq redrive", "dlq runs"} {
		t.Run(command, func(t *testing.T) {
			before := refused()
			out := orderflow(t, env, strings.Fields(command)...)
			require.LessOrEqual(t, refused()-before, int64(2), "tries")
			require.Equal(t, 1, out.status)
			require.Empty(t, out.stdout)
			require.Equal(t, 1, strings.Count(out.stderr, "\n"), out.stderr)
			require.Contains(t, out.stderr, broker.Address+": ")
			require.Contains(t, out.stderr, "SASL_AUTHENTICATION_FAILED")
			require.NotContains(t, out.stderr, "not it")
		})
	}
}
