package mutation

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// simulated are mutants that the simulation has to find too, though it knows nothing of the
// code and judges the broker's records alone.
var simulated = []string{
	"commits offsets only where they moved",
	"forgets tombstones",
	"keeps the state of an aborted transaction",
	"lets orders of a key overtake",
	"takes a rejection for an answer",
}

// schedules is how many the simulation may play until it has found a mutant.
const schedules = "400"

func TestTheSimulationFindsMutants(t *testing.T) {
	if os.Getenv(Env) == "" {
		t.Skipf("builds the simulation with %d mutants; run it with %s=1 go test ./test/mutation", len(simulated), Env)
	}
	root, every := child.Root(t), all()
	for _, name := range simulated {
		t.Run(name, func(t *testing.T) {
			m, ok := every["transaction: "+name]
			require.True(t, ok, "there is no such mutant")
			const pkg = "test/simulation"
			play := exec.Command(m.build(t, root, pkg), "-test.run=^TestSchedules$", "-test.failfast", "-test.timeout=10m")
			play.Dir = filepath.Join(root, pkg)
			play.Env = append(os.Environ(), "SEEDS="+schedules)
			out, err := play.CombinedOutput()
			require.Error(t, err, "no schedule found it:\n%s", out)
			require.Contains(t, string(out), "run it again, as often as it takes", "something else has failed")
		})
	}
}
