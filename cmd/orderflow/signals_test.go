//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// asMain names the variable that makes the test binary the command.
const asMain = "ORDERFLOW_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// begin runs the command and waits until it has printed some words.
func begin(t *testing.T, words, path string, args ...string) *child.Process {
	t.Helper()
	p := child.Start(t, child.Command{Name: "orderflow", Path: path, Args: args, Env: []string{asMain + "=1"}})
	require.Eventually(t, func() bool { return strings.Contains(p.Log(), words) }, time.Minute, 10*time.Millisecond)
	return p
}

func TestSIGHUPEndsLikeSIGTERM(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	pipeline := filepath.Join(t.TempDir(), "p.yaml")
	require.NoError(t, os.WriteFile(pipeline, []byte("http: {enabled: false}\n"+
		"input: {generate: {interval: 10ms, mapping: 'root = \"hello\"'}}\n"+
		"output: {stdout: {}}\n"), 0o644))
	tests := map[string]struct {
		args     []string
		up, down string
	}{
		"a pipeline": {[]string{"run", pipeline}, strings.Repeat("hello\n", 5), "Received SIGTERM, the service is closing"},
		"the broker": {[]string{"broker", "--address", "127.0.0.1:0", "--registry-address", "127.0.0.1:0", "--topics=false"}, "ready;", "Stopping the broker"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
				// The host's pipelines run a moment before it listens for SIGTERM. A signal in it ends
				// the process on the spot, as ever, and nothing is said.
				var p *child.Process
				var err error
				for range 20 {
					p = begin(t, test.up, self, test.args...)
					require.NoError(t, p.Signal(s))
					if err = p.Wait(time.Minute); err == nil {
						break
					}
				}
				require.NoError(t, err, "exit status after %v", s)
				require.Contains(t, p.Log(), test.down)
			}
		})
	}
	t.Run("under nohup nothing ends", func(t *testing.T) {
		t.Parallel()
		p := begin(t, "ready;", "/bin/sh", append([]string{"-c", `trap "" HUP; exec "$0" "$@"`, self}, tests["the broker"].args...)...)
		require.NoError(t, p.Signal(syscall.SIGHUP))
		require.NoError(t, p.Signal(syscall.SIGTERM)) // were both heard, the first would be as well
		require.NoError(t, p.Wait(time.Minute))
		require.Equal(t, 1, strings.Count(p.Log(), "Stopping the broker"))
	})
}

// The broker's files are made by a library that would let everybody read them.
func TestFilesOfTheBrokerArePrivate(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "data")
	p := begin(t, "ready;", self, "broker", "--address", "127.0.0.1:0", "--registry-address", "127.0.0.1:0", "--data-dir", dir)
	require.NoError(t, p.Terminate(time.Minute))
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s has %v", path, info.Mode())
		files++
		return nil
	}))
	require.Greater(t, files, 5, "there is something to look at")
}
