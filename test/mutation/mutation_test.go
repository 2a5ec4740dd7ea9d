// Package mutation breaks the transaction on purpose, one rule at a time, and asserts that the
// tests of kafka_transactional find it. The mutants exist only in a build overlay.
package mutation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// Env names the variable that turns on what builds the plugin many times.
const Env = "ORDERFLOW_MUTATIONS"

const plugin = "plugins/kafkatransactional"

// A change of the code must not make a mutant void.
func TestEachMutantBreaksWhatStandsInTheCode(t *testing.T) {
	root := child.Root(t)
	var tests strings.Builder
	files, err := filepath.Glob(filepath.Join(root, plugin, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		tests.Write(text)
	}
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(root, plugin, m.file))
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(source), m.old), "%s has changed", m.file)
			require.Contains(t, tests.String(), "\nfunc "+m.test+"(t *testing.T) {", "the test that finds it")
		})
	}
}

func TestEachMutantIsFound(t *testing.T) {
	if os.Getenv(Env) == "" {
		t.Skipf("builds the plugin %d times; run it with %s=1 go test ./test/mutation", len(mutants), Env)
	}
	root := child.Root(t)
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(root, plugin, m.file)
			source, err := os.ReadFile(path)
			require.NoError(t, err)
			dir := t.TempDir()
			mutant, overlay, binary := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "plugin.test")
			require.NoError(t, os.WriteFile(mutant, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600))
			replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(overlay, replace, 0o600))

			build := exec.Command("go", "test", "-c", "-overlay", overlay, "-tags", "synctests", "-o", binary, "./"+plugin)
			build.Dir = root
			out, err := build.CombinedOutput()
			require.NoError(t, err, "the mutant does not compile:\n%s", out)

			run := exec.Command(binary, "-test.run", "^"+m.test+"$", "-test.failfast", "-test.timeout", "60s")
			run.Dir = filepath.Join(root, plugin)
			out, err = run.CombinedOutput()
			require.Error(t, err, "%s does not find it:\n%s", m.test, out)
		})
	}
}
