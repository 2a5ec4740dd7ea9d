package bench

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
)

const envProfile = "ORDERFLOW_PROFILE"

// TestProfile renews the CPU profile that the Go command compiles the binary by.
func TestProfile(t *testing.T) {
	if os.Getenv(envProfile) == "" {
		t.Skipf("changes cmd/orderflow/default.pgo, needs Java 17 and Maven; run it with %s=1 go test ./test/bench -run TestProfile", envProfile)
	}
	t.Setenv(kafka.Env, "1")
	b := &broker{t: t, cluster: kafka.Start(t, kafka.Options{}), orders: 3_000_000}
	b.load()
	const address = "127.0.0.1:4195"
	var profile []byte
	b.measure(variant{"consumer.yaml with a profiler", func(t *testing.T, env map[string]string) *child.Process {
		vars := []string{}
		for name, value := range env {
			vars = append(vars, name+"="+value)
		}
		p := child.Start(t, child.Command{
			Name: "consumer", Path: child.Orderflow(t), Dir: child.Root(t), Env: append(vars, "HTTP_ADDRESS="+address),
			Args: []string{"run", "--set", "http.debug_endpoints=true", "config/pipelines/consumer.yaml"},
		})
		p.AwaitLog(t, "Input type kafka_transactional is now active", 30*time.Second)
		resp, err := http.Get("http://" + address + "/debug/pprof/profile?seconds=6")
		require.NoError(t, err)
		defer resp.Body.Close()
		profile, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s", profile)
		return p
	}}, "0")
	require.False(t, strings.HasPrefix(string(profile), "Could not"), "%s", profile)
	require.NoError(t, os.WriteFile(filepath.Join(child.Root(t), "cmd", "orderflow", "default.pgo"), profile, 0o644))
}
