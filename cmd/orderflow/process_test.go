package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/cmd/orderflow/topics"
	"github.com/orderflow/orderflow/config"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/test/child"
)

// patience is how long a process may take.
const patience = child.Patience

// start runs the binary to its end, and returns its exit status and what it says on standard error.
func start(t *testing.T, stdout *os.File, env map[string]string, args ...string) (status int, stderr string) {
	t.Helper()
	path := child.Orderflow(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = child.Root(t)
	cmd.Env = os.Environ()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if stdout != nil {
		cmd.Stdout = stdout
	}
	_ = cmd.Run() // the status tells
	return cmd.ProcessState.ExitCode(), said.String()
}

func pipelinePaths(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(child.Root(t), "config", "pipelines", "*.yaml"))
	require.NoError(t, err)
	var paths []string
	for _, path := range all {
		if !strings.HasSuffix(path, "_test.yaml") {
			paths = append(paths, path)
		}
	}
	require.NotEmpty(t, paths)
	return paths
}

// The host would only log it, and go on without /metrics and /ready.
func TestAPortThatIsTakenEndsAPipeline(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { taken.Close() }) // when the tests below are over, which run later
	address := taken.Addr().String()
	for _, path := range pipelinePaths(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			status, stderr := start(t, nil, map[string]string{"HTTP_ADDRESS": address, "KAFKA_BROKERS": "127.0.0.1:1"}, "run", path)
			require.Equal(t, 1, status, stderr)
			require.Contains(t, stderr, `starting the HTTP server: field http.address (HTTP_ADDRESS) "`+address+`": listen tcp `+address+": bind: address already in use\n")
			require.NotContains(t, stderr, "Launching", "nothing was begun")
		})
	}
}

func TestAValueThatCannotBeEndsAPipeline(t *testing.T) {
	for _, path := range pipelinePaths(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			for variable, says := range map[string]string{
				"HTTP_ADDRESS=127.0.0.1:99999": "variable HTTP_ADDRESS: \"127.0.0.1:99999\", expected host:port with a port up to 65535\n",
				"KAFKA_TLS=maybe":              "variable KAFKA_TLS: \"maybe\", expected true or false\n",
			} {
				name, value, _ := strings.Cut(variable, "=")
				status, stderr := start(t, nil, map[string]string{name: value}, "run", path)
				require.Equal(t, 1, status)
				require.Equal(t, says, stderr)
			}
		})
	}
}

// A pipeline whose server listens is not mistaken for one whose does not, however many start at a time.
func TestPipelinesStartWhereThePortIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	require.NoError(t, os.WriteFile(path, []byte(`http: {address: "${HTTP_ADDRESS:}"}
input: {generate: {count: 1, interval: "", mapping: 'root = "hello"'}}
output: {drop: {}}
`), 0o600))
	for range 12 {
		t.Run("start", func(t *testing.T) {
			t.Parallel()
			for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
				status, stderr := start(t, nil, map[string]string{"HTTP_ADDRESS": address}, "run", path)
				require.Equal(t, 0, status, stderr)
			}
		})
	}
	off := filepath.Join(t.TempDir(), "off.yaml")
	require.NoError(t, os.WriteFile(off, []byte("http: {enabled: false, address: nowhere}\ninput: {generate: {count: 1, interval: '', mapping: 'root = 1'}}\noutput: {drop: {}}\n"), 0o600))
	status, stderr := start(t, nil, nil, "run", off)
	require.Equal(t, 0, status, stderr)
}

func TestResultsOnAFullDiskAreAFailure(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("a device of Linux: ", err)
	}
	t.Cleanup(func() { full.Close() })
	broker, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	list, err := topics.Parse(config.Topics, func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	require.NoError(t, topics.Apply(t.Context(), &bytes.Buffer{}, list, broker.ClientOpts()...))
	env := map[string]string{"KAFKA_BROKERS": broker.Address(), "KAFKA_TLS": "", "KAFKA_SASL_MECHANISM": "", "SCHEMA_REGISTRY_URL": ""}

	for _, command := range []string{
		"topics create", "audit", "audit --json", "aggregates", "aggregates --json", "aggregates --watch", "dlq list", "dlq list --all", "dlq list --json",
		"dlq runs", "dlq runs --json", "dlq redrive --dry-run", "dlq redrive --dry-run --json", "dlq redrive",
		"broker --address 127.0.0.1:0 --registry-address 127.0.0.1:0", "demo --count 1", "dlq show --help", "audit --help",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			status, stderr := start(t, full, env, strings.Fields(command)...)
			require.Equal(t, 1, status, stderr)
			require.Contains(t, stderr, "writing results: write /dev/stdout: no space left on device\n")
		})
	}
}
