package broker

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/devbroker"
)

// output collects what the command writes, and tells when it is ready.
type output struct {
	mu    sync.Mutex
	text  strings.Builder
	ready chan struct{}
	once  sync.Once
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if strings.Contains(o.text.String(), "ready;") {
		o.once.Do(func() { close(o.ready) })
	}
	return len(p), nil
}

// value returns the word after a label at the start of a line.
func (o *output) value(t *testing.T, label string) string {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range strings.Lines(o.text.String()) {
		if rest, ok := strings.CutPrefix(line, label); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("no line starts with %q in:\n%s", label, o.text.String())
	return ""
}

// run runs the broker; the returned function stops it.
func run(t *testing.T, o Options) (*output, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := &output{ready: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o, out, slog.New(slog.DiscardHandler)) }()
	select {
	case <-out.ready:
	case err := <-done:
		t.Fatalf("the broker ended: %v", err)
	}
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return out, stop
}

func TestRunKeepsTopicsAndSchemas(t *testing.T) {
	ctx := t.Context()
	o := Options{
		Broker:          devbroker.Options{Address: "127.0.0.1:0", DataDir: t.TempDir()},
		RegistryAddress: "127.0.0.1:0", Topics: true,
	}
	for round, want := range []string{"orders               created", "orders               exists, as listed"} {
		out, stop := run(t, o)
		require.Contains(t, out.text.String(), want)

		client, err := kgo.NewClient(kgo.SeedBrokers(out.value(t, "Kafka broker")))
		require.NoError(t, err)
		topics, err := kadm.NewClient(client).ListTopics(ctx, "orders")
		client.Close()
		require.NoError(t, err)
		require.Len(t, topics["orders"].Partitions, 6)

		registry, err := sr.NewClient(sr.URLs(out.value(t, "registry")))
		require.NoError(t, err)
		if round == 0 {
			_, err = registry.CreateSchema(ctx, "orders-value", sr.Schema{Schema: `{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}`})
			require.NoError(t, err)
		}
		_, err = registry.CreateSchema(ctx, "orders-value", sr.Schema{Schema: `{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}`})
		require.ErrorContains(t, err, "level BACKWARD: reading data of version 1 with it")
		stop()
	}
}

func TestRunBehindAnotherName(t *testing.T) {
	out, _ := run(t, Options{Broker: devbroker.Options{Address: "127.0.0.1:0", Advertised: "no-such-host.invalid:9092"}, Topics: true})
	require.Contains(t, out.text.String(), "orders               created", "topics are made without the advertised name")
	require.Equal(t, "no-such-host.invalid:9092", out.value(t, "Kafka broker"))
	require.Equal(t, "none", out.value(t, "registry"))
	require.Equal(t, "in memory", out.value(t, "data"))
}

func TestCommandSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	tests := map[string]struct {
		args []string
		code int
		says string
	}{
		"an argument":               {[]string{"now"}, exit.Wrong, `unexpected argument "now"`},
		"an unknown flag":           {[]string{"--port", "1"}, exit.Wrong, "Run 'orderflow broker --help' for usage."},
		"a port that is taken":      {[]string{"--address", taken.Addr().String()}, exit.Failed, "address already in use"},
		"a registry port, as taken": {[]string{"--address", "127.0.0.1:0", "--registry-address", taken.Addr().String()}, exit.Failed, "listening for registry clients"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			app := &cli.App{Name: "orderflow", HelpName: "orderflow", Writer: &bytes.Buffer{}, ErrWriter: io.Discard, Commands: []*cli.Command{Command()}}
			err := app.Run(append([]string{"orderflow", "broker"}, test.args...))
			require.Equal(t, test.code, exit.Code(err), "%v", err)
			require.ErrorContains(t, err, test.says)
		})
	}
}
