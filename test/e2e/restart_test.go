package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

// failing makes orders all of which fail for ever, and some that do not, over all partitions.
func failing(n, sound int) []*kgo.Record {
	var records []*kgo.Record
	for i := range n + sound {
		id := orderID(fmt.Sprintf("restart-%03d", i), i < n)
		records = append(records, &kgo.Record{Topic: "orders", Key: []byte(id), Value: avro(id, "Pen", 1.5), Partition: int32(i % 6)})
	}
	return records
}

func TestSIGTERMInTheMiddleOfAWaitLosesNothingAndTheAttemptsGoOn(t *testing.T) {
	t.Parallel()
	for _, instance := range []string{"", "consumer-0"} {
		t.Run("instance id "+instance, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.produce(failing(12, 12)...)
			env := map[string]string{"INSTANCE_ID": instance, "LOG_LEVEL": "DEBUG"}
			for range 2 { // in the first wait, and in a later one
				p := w.run(consumer, env)
				awaitLog(t, p, "failed, trying again in ")
				require.Eventually(t, func() bool {
					found, err := w.tryAudit()
					return err == nil && found.Processed == 12 && found.Waiting+found.DeadLettered == 12
				}, patience, 20*time.Millisecond)
				require.NoError(t, p.Terminate(patience), "exit status")
				found := w.audit()
				require.True(t, found.OK)
				require.Positive(t, found.Waiting, "a wait does not hold up the end: orders wait on, with no instance there")
				require.EqualValues(t, 12, found.Waiting+found.DeadLettered)
			}
			p := w.run(consumer, env)
			report := w.await(oracle.Config{}, 24)
			require.NoError(t, report.ExactlyOnce())
			require.Equal(t, map[string]int{"transient": 12}, report.Classes)
			for _, r := range w.committed("orders-dlq") {
				times := strings.Split(header(t, r, "dlq_attempt_times"), ",")
				require.Len(t, times, 4, "the attempts before the stop count")
				require.Equal(t, "4", header(t, r, "dlq_attempts"))
			}
			require.NoError(t, p.Terminate(patience))

			run := orderflow(t, w.env(nil), "audit")
			require.Equal(t, 0, run.status, run.stdout+run.stderr)
			run = orderflow(t, w.env(nil), "aggregates", "--json")
			require.JSONEq(t, `{"overall":{"count":12,"sum":"18","min":"1.5","max":"1.5","average":"1.5"},
				"groups":{"Pen":{"count":12,"sum":"18","min":"1.5","max":"1.5","average":"1.5"}}}`, run.stdout, "counted once each")
		})
	}
}

func TestKillInTheMiddleOfAWaitLosesNothingAndTheAttemptsGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.produce(failing(12, 12)...)
	env := map[string]string{"INSTANCE_ID": "consumer-0"}
	p := w.run(consumer, env)
	w.awaitWaiting(12)
	p.Kill()
	p = w.run(consumer, env)
	require.NoError(t, w.await(oracle.Config{}, 24).ExactlyOnce())
	require.True(t, w.audit().OK)
	require.NoError(t, p.Terminate(patience))
}

// On stock parts a wait is not written down: what matters is that its order comes again.
func TestAtLeastOnceLosesNothingBySIGTERMInTheMiddleOfAWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.produce(failing(12, 12)...)
	// The end comes sooner than the last retry would: the wait is cut short.
	args := []string{"run", "--set", "shutdown_timeout=2s", atLeastOnce}
	var env []string
	for name, value := range w.env(nil) {
		env = append(env, name+"="+value)
	}
	start := func() *child.Process {
		return child.Start(t, child.Command{Name: "consumer", Path: child.Orderflow(t), Args: args, Dir: child.Root(t), Env: env})
	}
	p := start()
	require.Eventually(t, func() bool { return len(w.committed("orders-processed")) == 12 }, patience, 50*time.Millisecond)
	require.NoError(t, p.Terminate(patience), "exit status")
	require.Empty(t, w.committed("orders-dlq"), "the end came before the last retry, and an interrupted order is no dead letter")

	p = start()
	report := w.await(oracle.Config{IgnoreHeaders: true}, 24)
	require.NoError(t, report.AtLeastOnce())
	require.Equal(t, map[string]int{"transient": 12}, report.Classes)
	require.NoError(t, p.Terminate(patience))
}
