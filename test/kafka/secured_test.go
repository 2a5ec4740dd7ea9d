package kafka

import (
	"bytes"
	"maps"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/secured"
)

// The broker itself says what a wrong password and a certificate are: the embedded one only plays it.
func TestAPipelineAndTheCommandsReachASecuredBroker(t *testing.T) {
	certificate := secured.Certify(t)
	cluster := Start(t, Options{Secured: &certificate})
	s := newSite(t, cluster, "secured")
	made, err := s.admin.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{
		{User: secured.User, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: secured.Password},
	})
	require.NoError(t, err)
	require.NoError(t, made.Error())
	maps.Copy(s.env, secured.Env(address(cluster.brokers[0].secured), certificate))

	p := s.run()
	s.write(20)
	s.order("Pen", 0)
	require.Equal(t, 1, s.exactlyOnce(21, child.Patience).DeadLettered)
	s.stop(p)
	require.NotContains(t, p.Log(), secured.Secret)
	require.Contains(t, string(s.orderflow("topics", "create")), "exists, as listed")
	require.Contains(t, string(s.orderflow("audit")), "all: 21 orders")
	require.Contains(t, string(s.orderflow("aggregates", "--json")), `"overall":{"count":20,`)
	require.Contains(t, string(s.orderflow("dlq", "redrive", "--map", "root.price = 1")), "1  sent")
	require.Contains(t, string(s.orderflow("dlq", "list")), "0 open dead letters")

	s.env["KAFKA_SASL_PASSWORD"] = "not it"
	for _, command := range []string{"topics create", "aggregates", "audit", "dlq list", "dlq show orders/0/0", "dlq redrive", "dlq runs"} {
		require.Contains(t, s.refused(strings.Fields(command)...), "SASL_AUTHENTICATION_FAILED", command)
	}
	delete(s.env, "KAFKA_TLS_CA")
	require.Contains(t, s.refused("dlq", "list"), "certificate signed by unknown authority")
}

// refused runs a command that the broker does not let in, and returns the one line that it says.
func (s *site) refused(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(child.Orderflow(s.t), args...)
	cmd.Env = cmd.Environ()
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begun := time.Now()
	require.Error(s.t, cmd.Run())
	require.Less(s.t, time.Since(begun), 10*time.Second, "%v", args)
	require.Equal(s.t, 1, cmd.ProcessState.ExitCode())
	require.Equal(s.t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
	return stderr.String()
}
