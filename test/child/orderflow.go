package child

import (
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// BinaryEnv names a variable with the path of an orderflow binary to use instead of building one.
const BinaryEnv = "ORDERFLOW_BIN"

var built struct {
	once sync.Once
	path string
	err  error
}

// Orderflow returns the path of the orderflow binary. It is built at most once a test process,
// and the Go command links it only if something has changed since the last time.
func Orderflow(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.path = os.Getenv(BinaryEnv); built.path != "" {
			return
		}
		root := Root(t)
		// One file for each checkout; a running process keeps the file that it was started from,
		// since the Go command replaces a binary by renaming.
		sum := fnv.New64a()
		_, _ = sum.Write([]byte(root)) // never fails
		built.path = filepath.Join(Cache(t, "bin"), fmt.Sprintf("orderflow-%x", sum.Sum64()))
		build := exec.Command("go", "build", "-o", built.path, "./cmd/orderflow")
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building orderflow: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// Run starts `orderflow run` with a pipeline in the directory of the module, so that the
// pipeline's own relative paths hold.
func Run(t testing.TB, pipeline string, env map[string]string) *Process {
	t.Helper()
	vars := make([]string, 0, len(env))
	for name, value := range env {
		vars = append(vars, name+"="+value)
	}
	name := filepath.Base(pipeline)
	return Start(t, Command{
		Name: name[:len(name)-len(filepath.Ext(name))],
		Path: Orderflow(t),
		Args: []string{"run", pipeline},
		Dir:  Root(t),
		Env:  vars,
	})
}
