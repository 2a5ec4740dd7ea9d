package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-01-31T10:00:00Z"}}
	tests := map[string]struct {
		version, date string // of the linker
		info          debug.BuildInfo
		want          [2]string
	}{
		"of the linker":         {"1.2.3", "2026-02-01", debug.BuildInfo{Main: debug.Module{Version: "v9.9.9"}, Settings: commit}, [2]string{"1.2.3", "2026-02-01"}},
		"of the module":         {"", "", debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: commit}, [2]string{"1.2.3", "2026-01-31T10:00:00Z"}},
		"of the commit":         {"", "", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: commit}, [2]string{"devel-0123456789ab", "2026-01-31T10:00:00Z"}},
		"of a changed checkout": {"", "", debug.BuildInfo{Settings: append(commit, debug.BuildSetting{Key: "vcs.modified", Value: "true"})}, [2]string{"devel-0123456789ab-modified", "2026-01-31T10:00:00Z"}},
		"not known":             {"", "", debug.BuildInfo{}, [2]string{"unknown", "unknown"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			version, date := describe(test.version, test.date, &test.info)
			require.Equal(t, test.want, [2]string{version, date})
		})
	}
}

func TestWhatRunsAPipeline(t *testing.T) {
	for _, args := range [][]string{{"run", "p.yaml"}, {"run"}, {"--chilled", "run", "p.yaml"}, {"streams", "a.yaml"}} {
		require.True(t, runsPipeline(args), "%v", args)
	}
	for _, args := range [][]string{nil, {"list"}, {"lint", "run"}, {"demo"}, {"--version"}, {"topics", "create"}} {
		require.False(t, runsPipeline(args), "%v", args)
	}
}

// capture runs the command in a process of its own, since the host ends the one it is in some time
// after a pipeline, and returns what it wrote to standard output and error.
func capture(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	var out, errs bytes.Buffer
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "%s", &errs)
	return out.String(), errs.String()
}

// The way the logs get to standard error leans on the order in which the host sets itself up, so
// this shows at once if an upgrade changes it.
func TestLogsAreOnStandardError(t *testing.T) {
	for output, want := range map[string]string{"drop": "", "stdout": "hello\n"} {
		path := t.TempDir() + "/p.yaml"
		require.NoError(t, os.WriteFile(path, []byte("http: {enabled: false}\n"+
			"input: {generate: {count: 1, interval: '', mapping: 'root = \"hello\"'}}\n"+
			"output: {"+output+": {}}\n"), 0o644))
		stdout, stderr := capture(t, "run", path)
		require.Equal(t, want, stdout, output)
		require.Contains(t, stderr, "Pipeline has terminated", output)
	}
}

func TestOtherCommandsWriteToStandardOutput(t *testing.T) {
	stdout, stderr := capture(t, "list", "processors")
	require.Contains(t, stdout, "order_decode")
	require.Empty(t, stderr)
}
