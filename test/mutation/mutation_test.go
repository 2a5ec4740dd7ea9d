// Package mutation breaks the product on purpose, one rule at a time, and asserts that a test of
// the package that holds the rule finds it. The mutants exist only in a build overlay.
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

// Env names the variable that turns on what builds tests many times.
const Env = "ORDERFLOW_MUTATIONS"

const plugin = "plugins/kafkatransactional"

// mutant is a rule to break: the file, what stands there, what it becomes, and a test of the
// file's package that fails then.
type mutant struct{ file, old, new, test string }

// all returns the mutants of all tables, with files from the directory of the module.
func all() map[string]mutant {
	every := map[string]mutant{}
	for _, table := range []map[string]mutant{mutants, instances} {
		for name, m := range table {
			every["transaction: "+name] = mutant{plugin + "/" + m.file, m.old, m.new, m.test}
		}
	}
	for name, m := range product {
		every["product: "+name] = m
	}
	return every
}

// A change of the code must not make a mutant void.
func TestEachMutantBreaksWhatStandsInTheCode(t *testing.T) {
	root := child.Root(t)
	for name, m := range all() {
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(root, m.file))
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(source), m.old), "%s has changed", m.file)
			files, err := filepath.Glob(filepath.Join(root, filepath.Dir(m.file), "*_test.go"))
			require.NoError(t, err)
			var tests strings.Builder
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				tests.Write(text)
			}
			require.Contains(t, tests.String(), "\nfunc "+m.test+"(t *testing.T) {", "the test that finds it")
		})
	}
}

// build compiles the tests of a package with the mutant in place of the code, and returns the
// binary.
func (m mutant) build(t *testing.T, root, pkg string) string {
	path, dir := filepath.Join(root, m.file), t.TempDir()
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	changed, overlay, tests := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "tests")
	require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600))
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, replace, 0o600))
	build := exec.Command("go", "test", "-c", "-overlay", overlay, "-tags", "synctests", "-o", tests, "./"+pkg)
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, "the mutant does not compile:\n%s", out)
	return tests
}

func TestEachMutantIsFound(t *testing.T) {
	every := all()
	if os.Getenv(Env) == "" {
		t.Skipf("builds the tests of %d mutants; run it with %s=1 go test ./test/mutation", len(every), Env)
	}
	root := child.Root(t)
	for name, m := range every {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Dir(m.file)
			run := exec.Command(m.build(t, root, dir), "-test.run", "^"+m.test+"$", "-test.failfast", "-test.timeout", "60s")
			run.Dir = filepath.Join(root, dir)
			out, err := run.CombinedOutput()
			require.Error(t, err, "%s does not find it:\n%s", m.test, out)
		})
	}
}
