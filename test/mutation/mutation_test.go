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

// Env names the variable that turns these tests on: they build the plugin many times.
const Env = "ORDERFLOW_MUTATIONS"

const plugin = "plugins/kafkatransactional"

// mutants are rules to break: the file, what stands there, and what it becomes. What stands
// there must stand there once, so that a change of the code cannot make a mutant void.
var mutants = map[string]struct{ file, old, new string }{
	"commits while orders are in flight": {
		"commit.go", "\tif err := c.barrier(ctx, false); err != nil {\n\t\treturn err\n\t}\n\tc.met.barrier", "\tc.met.barrier",
	},
	"commits offsets only where they moved": {
		"commit.go", "if sent[topicPartition{topic, partition}] || at.Offset < 0 {", "if true || at.Offset < 0 {",
	},
	"keeps the state of an aborted transaction": {
		"abort.go", "\treason, open := c.txn.doomed, !c.txn.began.IsZero()\n\trefused := c.txn.refused\n\tc.parts = map[topicPartition]*partition{}\n", "\treason, open := c.txn.doomed, !c.txn.began.IsZero()\n\trefused := c.txn.refused\n",
	},
	"restores no waiting orders": {
		"partition.go", "\t\tp.waiting[k.Offset] = w\n\t\theap.Push(&p.due, w)\n\tcase", "\t\t_ = w\n\tcase",
	},
	"restores no aggregates": {
		"partition.go", "p.acc[key] = &accumulator{raw: value}", "_ = key",
	},
	"forgets tombstones": {
		"partition.go", "\tif w.stored {\n\t\tp.written[offset] = struct{}{}\n\t} else {\n\t\tdelete(p.written, offset)\n\t}", "\tdelete(p.written, offset)",
	},
	"does not write what waits": {
		"partition.go", "\tp.waiting[offset] = w\n\tp.written[offset] = struct{}{}\n\theap", "\tp.waiting[offset] = w\n\theap",
	},
	"counts twice": {
		"commit.go", "a.value.Fold(con.value)", "a.value.Fold(con.value)\n\t\ta.value.Fold(con.value)",
	},
	"counts what waits": {
		"commit.go", "\tif o.wait {\n\t\tp.hold(", "\tfor _, con := range o.contributions {\n\t\ta, _ := p.accumulatorFor(con.name, con.group, con.fresh)\n\t\ta.value.Fold(con.value)\n\t\ta.dirty = true\n\t}\n\tif o.wait {\n\t\tp.hold(",
	},
	"takes a rejection for an answer": {
		"commit.go", "\tif err != nil {\n\t\tc.doom(fmt.Errorf(\"the pipeline rejected a batch: %w\", err))\n\t\treturn\n\t}", "",
	},
	"does not restore on assignment": {
		"restore.go", "\tif err := c.restore(ctx, starts, false); err != nil {\n\t\treturn nil, err\n\t}", "\tc.mu.Lock()\n\tfor tp := range starts {\n\t\tc.parts[tp] = newPartition(tp, Ledger{Group: c.conf.group}, c.conf.ordering)\n\t}\n\tc.mu.Unlock()",
	},
	"commits what a stopped pipeline has not answered": {
		"connect.go", "o.part.putBack(o, time.Now())", "",
	},
	"leaves an order waiting that has its outcome": {
		"commit.go", "\tp.end(o.rec.Offset)\n", "",
	},
	"ignores max_waiting": {
		"client.go", "if room <= 0 {", "room = c.conf.batchSize\n\tif room <= 0 {",
	},
	"lets orders of a key overtake": {
		"client.go", "ok || !p.admit(rec)", "ok",
	},
	"commits where to begin only with the first order": {
		"client.go", "case t == nil && c.fresh:", "case false:",
	},
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
			require.Equal(t, 1, strings.Count(string(source), m.old), "the code to break has changed")
			dir := t.TempDir()
			mutant := filepath.Join(dir, m.file)
			require.NoError(t, os.WriteFile(mutant, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600))
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
			require.NoError(t, err)
			overlayFile := filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(overlayFile, overlay, 0o600))

			run := func(args ...string) (string, error) {
				cmd := exec.Command("go", append([]string{"test", "-overlay", overlayFile, "-tags", "synctests", "./" + plugin}, args...)...)
				cmd.Dir = root
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			out, err := run("-run", "NONE")
			require.NoError(t, err, "the mutant does not compile:\n%s", out)
			out, err = run("-failfast", "-timeout", "60s")
			require.Error(t, err, "no test found it:\n%s", out)
		})
	}
}
