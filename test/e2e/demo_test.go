package e2e

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/order"
)

// classic is the simulated failure of the classic run.
var classic = order.Simulator{Rate: 0.15, Mode: order.Sticky, Seed: 1}

func TestDemoShowsTheWholeSystem(t *testing.T) {
	t.Parallel()
	run := orderflow(t, nil, "demo", "--count", "30", "--interval", "20ms")
	require.Equal(t, 0, run.status, run.stdout+run.stderr)

	var failing []string
	for i := 1; i <= 30; i++ {
		if id := fmt.Sprintf("order-000001-%06d", i); classic.Fails(id, 1) {
			failing = append(failing, id)
		}
	}
	require.NotEmpty(t, failing)
	dead, done := len(failing), 30-len(failing)

	for _, want := range []string{
		`== Producer\nDelivery\n  produced +30\n  failed +0\n  latency +average [\d.]+ ms, p50 [\d.]+ ms, p99 [\d.]+ ms\n`,
		fmt.Sprintf(`== Consumer\nRetries\n  attempts +%d\n  retries +%d \(retry 1: %d, retry 2: %[3]d, retry 3: %[3]d\)\n  recovered +0\n  exhausted +%[3]d\n`, 30+3*dead, 3*dead, dead),
		fmt.Sprintf(`  seen +30\n  passed +%d\n  dead-lettered +%d\n  success rate +%.1f %%\n    simulated_failure \(transient\) +%[2]d\n`, done, dead, float64(done)/30*100),
		fmt.Sprintf(`== Dead-letter monitor\nDead letters\n  count +%d\n  total value +[\d.]+\n`, dead),
		fmt.Sprintf(`\n    %d +simulated_failure +transient +Max retries exceeded: Simulated processing failure\n`, dead),
		fmt.Sprintf(`in 30 = processed %d \+ dead-lettered %d: holds\n`, done, dead),
	} {
		require.Regexp(t, want, run.stdout)
	}

	// The monitor lists exactly the orders that the seed says.
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^    (order-\d+-\d+) .* 4 attempts  Max retries exceeded`).FindAllStringSubmatch(run.stdout, -1) {
		listed = append(listed, m[1])
	}
	require.ElementsMatch(t, failing, listed)
}

func TestDemoWithOrdersThatRecoverHasNoDeadLetter(t *testing.T) {
	t.Parallel()
	run := orderflow(t, nil, "demo", "--count", "20", "--interval", "5ms", "--failure-mode", "transient", "--failure-rate", "0.5", "--seed", "7")
	require.Equal(t, 0, run.status, run.stdout+run.stderr)

	s, failing := order.Simulator{Rate: 0.5, Mode: order.Transient, Seed: 7, Recover: 2}, 0
	for i := 1; i <= 20; i++ {
		if s.Fails(fmt.Sprintf("order-000007-%06d", i), 1) {
			failing++
		}
	}
	require.Regexp(t, fmt.Sprintf(`  recovered +%d\n  exhausted +0\n`, failing), run.stdout)
	require.Contains(t, run.stdout, "in 20 = processed 20 + dead-lettered 0: holds\n")
}

func TestDemoRefusesAWrongCall(t *testing.T) {
	t.Parallel()
	run := orderflow(t, nil, "demo", "--count", "none")
	require.Equal(t, 2, run.status)
	require.Contains(t, run.stderr, `invalid value "none" for flag -count`)
}
