package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/devbroker"
)

// childEnv makes the test binary stand in for the orderflow binary.
const childEnv = "DEMO_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "fails":
		fmt.Println("a summary")
		fmt.Fprintln(os.Stderr, "what went wrong")
		os.Exit(1)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		<-time.After(time.Minute)
	case "waits":
		<-time.After(time.Minute) // until it is stopped
	}
	os.Exit(m.Run())
}

func options(t *testing.T) Options {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	return Options{Count: 5, Interval: time.Millisecond, Seed: 1, FailureRate: 0.5, FailureMode: modeSticky, Executable: exe}
}

func TestOptionsAreChecked(t *testing.T) {
	tests := map[string]struct {
		args []string
		says string
	}{
		"count":        {[]string{"--count", "0"}, "flag --count: 0, expected a number above 0"},
		"interval":     {[]string{"--interval", "0s"}, "flag --interval: 0s, expected a duration above 0"},
		"rate":         {[]string{"--failure-rate", "1.5"}, "flag --failure-rate: 1.5, expected a number from 0 to 1"},
		"rate of NaN":  {[]string{"--failure-rate", "NaN"}, "flag --failure-rate: NaN"},
		"mode":         {[]string{"--failure-mode", "often"}, `flag --failure-mode: "often", expected sticky or transient`},
		"seed":         {[]string{"--seed", "x"}, `invalid value "x" for flag -seed`},
		"an argument":  {[]string{"now"}, `unexpected argument "now"`},
		"unknown flag": {[]string{"--fast"}, "flag provided but not defined: -fast"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			app := &cli.App{Name: "orderflow", HelpName: "orderflow", Writer: io.Discard, ErrWriter: io.Discard, Commands: []*cli.Command{Command()}}
			err := app.Run(append([]string{"orderflow", "demo"}, test.args...))
			require.Equal(t, exit.Wrong, exit.Code(err))
			require.ErrorContains(t, err, test.says)
		})
	}
	o := options(t)
	o.FailureRate = math.Inf(1)
	require.ErrorContains(t, Run(t.Context(), o, io.Discard), "flag --failure-rate")
}

func TestVerdict(t *testing.T) {
	require.NoError(t, verdict(Balance{In: 5, Processed: 4, DeadLettered: 1}, 5))
	require.ErrorContains(t, verdict(Balance{In: 4, Processed: 4}, 5), "4 orders came in, expected 5")
	require.ErrorContains(t, verdict(Balance{In: 5, Processed: 4, Missing: []string{"a"}}, 5), "do not add up")
	require.ErrorContains(t, verdict(Balance{In: 2, Processed: 1, DeadLettered: 1, Repeated: []string{"a"}, Missing: []string{"b"}}, 2), "do not add up",
		"the sum alone does not tell")
}

func TestFailedPipelineIsShown(t *testing.T) {
	t.Setenv(childEnv, "fails")
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	err := Run(t.Context(), options(t), &out)
	require.ErrorContains(t, err, "the consumer pipeline ended too early: exit status 1")
	require.Contains(t, out.String(), "consumer.log\nwhat went wrong\n")
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), "orderflow-demo-*"))
	require.NoError(t, err)
	require.Len(t, dirs, 1)
	require.Contains(t, out.String(), "The logs are in "+dirs[0])
}

func TestInterruptionLeavesNothing(t *testing.T) {
	t.Setenv(childEnv, "waits")
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	s, err := begin(ctx, options(t))
	require.NoError(t, err)
	cancel()
	err = s.watch(ctx, io.Discard)
	require.ErrorIs(t, err, errInterrupted)
	require.ErrorIs(t, s.end(io.Discard, err), errInterrupted)
	for _, c := range []*child{s.producer, s.consumer, s.monitor} {
		require.True(t, c.ended(), c.name)
	}
	dirs, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, dirs)
}

func TestBeginThatFailsLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	o := options(t)
	o.Executable = filepath.Join(t.TempDir(), "missing")
	_, err := begin(t.Context(), o)
	require.ErrorContains(t, err, "starting consumer")
}

func TestPipelinesFindTheirFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, layOut(dir))
	for _, path := range []string{"pipelines/producer.yaml", "pipelines/consumer.yaml", "pipelines/dlq_monitor.yaml", "schemas/order.avsc"} {
		require.FileExists(t, filepath.Join(dir, path))
	}
}

// The caller's own settings must not reach the demo, so it sets every variable that a pipeline
// of it reads.
func TestEnvironmentCoversThePipelines(t *testing.T) {
	t.Setenv(childEnv, "waits")
	s, err := begin(t.Context(), options(t))
	require.NoError(t, err)
	defer func() { _ = s.end(io.Discard, errInterrupted) }()
	set := map[string]bool{"RUN_ID": true} // the binary gives itself one
	for _, pair := range s.environment(producer) {
		name, _, _ := strings.Cut(pair, "=")
		set[name] = true
	}
	for _, pipeline := range []string{producer, consumer, monitor} {
		content, err := os.ReadFile(filepath.Join(s.dir, "config", "pipelines", pipeline+".yaml"))
		require.NoError(t, err)
		for part := range strings.SplitSeq(string(content), "${") {
			name := strings.TrimRight(part[:strings.IndexAny(part+":", ":}")], " ")
			if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') }) {
				continue
			}
			require.True(t, set[name], "%s.yaml reads %s", pipeline, name)
		}
	}
	addresses := map[string]bool{}
	for _, address := range s.address {
		addresses[address] = true
	}
	require.Len(t, addresses, 3, "each pipeline has a port of its own")
}

func TestStubbornChildIsKilled(t *testing.T) {
	t.Setenv(childEnv, "stubborn")
	exe, err := os.Executable()
	require.NoError(t, err)
	c, err := startChild(exe, t.TempDir(), "stubborn", nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.summary() == "ready" }, 20*time.Second, time.Millisecond)
	require.ErrorContains(t, c.stop(time.Millisecond), "killed")
	require.True(t, c.ended())
}

func TestCatchUpReadsBehindTransactions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	broker, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	defer broker.Close()
	for _, topic := range []string{names.Orders, names.Processed, names.DeadLetters} {
		require.NoError(t, broker.Cluster().CreateTopic(topic, 2, nil))
	}
	r, err := startReader(ctx, names, broker.ClientOpts())
	require.NoError(t, err)
	defer r.close()

	writer, err := kgo.NewClient(append(broker.ClientOpts(), kgo.TransactionalID("tx"))...)
	require.NoError(t, err)
	defer writer.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		require.NoError(t, writer.BeginTransaction())
		record := &kgo.Record{Topic: names.Orders, Value: []byte{byte(i)}}
		require.NoError(t, writer.ProduceSync(ctx, record).FirstErr())
		require.NoError(t, writer.EndTransaction(ctx, end))
	}
	require.NoError(t, r.catchUp(ctx))
	require.Equal(t, 2, r.ledger.Balance().In, "aborted orders are none")

	ended, stop := context.WithCancelCause(ctx)
	stop(errors.New("no more time"))
	require.Error(t, r.catchUp(ended))
}
