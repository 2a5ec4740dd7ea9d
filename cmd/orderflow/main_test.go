package main

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
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

// capture runs the host's command line and returns what it wrote to standard output and error.
func capture(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	files := [2]*os.File{}
	for i := range files {
		f, err := os.CreateTemp(t.TempDir(), "")
		require.NoError(t, err)
		defer f.Close()
		files[i] = f
	}
	out, err := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = files[0], files[1]
	defer func() { os.Stdout, os.Stderr = out, err }()

	code, runErr := service.RunCLIToCode(t.Context(), logsOnStderr(args), service.CLIOptSetArgs(append([]string{"orderflow"}, args...)...))
	require.NoError(t, runErr)
	require.Zero(t, code)
	require.Same(t, files[0], os.Stdout, "standard output is what it was")

	text := [2]string{}
	for i, f := range files {
		content, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		text[i] = string(content)
	}
	return text[0], text[1]
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
