// Package bench compares consumer.yaml with what it could be: the pipeline on stock Kafka parts,
// and a program written by hand (yardstick) that does the same work in the same transactions. It
// starts Apache Kafka, so it needs Java 17 and Maven, and runs only when it is asked for:
//
//	ORDERFLOW_BENCH=1 go test ./test/bench -run TestThroughput -v -timeout 30m
//
// Broker and pipeline share the machine, so that only figures of one run can be compared; the
// variants take turns, so that what disturbs one disturbs the others.
package bench

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
)

const (
	enable    = "ORDERFLOW_BENCH"
	envOrders = "ORDERFLOW_BENCH_ORDERS" // how many orders are in the topic
	envRounds = "ORDERFLOW_BENCH_ROUNDS" // how often each variant runs without failures
	envFailed = "ORDERFLOW_BENCH_FAILED" // the same with a failure rate of 0.15
	envStock  = "ORDERFLOW_BENCH_STOCK"  // no: without the pipeline on stock parts, which takes minutes
)

// stock is the pipeline that delivers at least once.
const stock = "consumer_at_least_once.yaml"

// variant is one way to do the work.
type variant struct {
	name  string
	start func(t *testing.T, env map[string]string) *child.Process
}

func pipeline(name string) variant {
	return variant{name, func(t *testing.T, env map[string]string) *child.Process {
		return child.Run(t, "config/pipelines/"+name, env)
	}}
}

func TestThroughput(t *testing.T) {
	if os.Getenv(enable) == "" {
		t.Skipf("takes minutes, needs Java 17 and Maven; run it with %s=1 go test ./test/bench -run TestThroughput -v -timeout 30m", enable)
	}
	if runtime.GOOS != "linux" {
		t.Skip("reads CPU time and memory from /proc, which only Linux has")
	}
	t.Setenv(kafka.Env, "1")
	b := &broker{t: t, cluster: kafka.Start(t, kafka.Options{}), orders: number(t, envOrders, 1_000_000)}
	b.load()
	hand := yardstick(t)
	transactional := pipeline("consumer.yaml")
	all := []variant{transactional, pipeline(stock), hand}
	if os.Getenv(envStock) == "no" {
		all = []variant{transactional, hand}
	}

	for _, series := range []struct {
		rate     string
		rounds   int
		variants []variant
	}{
		{"0", number(t, envRounds, 3), all},
		// The pipeline on stock parts holds a thread for each order that waits: 150,000 orders
		// that wait 7 s each would take it more than an hour.
		{"0.15", number(t, envFailed, 1), []variant{transactional, hand}},
	} {
		results := map[string][]result{}
		for round := range series.rounds {
			for _, v := range series.variants {
				r := b.measure(v, series.rate)
				t.Logf("failure rate %s, round %d, %s: %s", series.rate, round+1, v.name, r)
				results[v.name] = append(results[v.name], r)
			}
		}
		if series.rounds > 0 {
			t.Logf("%d orders, failure rate %s, rounds: %d (min / median / max)\n%s", b.orders, series.rate, series.rounds, table(series.variants, results, hand.name))
		}
	}
}

func number(t *testing.T, name string, otherwise int) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
	require.NoError(t, err, name)
	return n
}

// yardstick builds the program that was written by hand.
func yardstick(t *testing.T) variant {
	path := filepath.Join(child.Cache(t, "bin"), "yardstick")
	build := exec.Command("go", "build", "-o", path, "./yardstick")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return variant{"yardstick", func(t *testing.T, env map[string]string) *child.Process {
		vars := make([]string, 0, len(env))
		for name, value := range env {
			vars = append(vars, name+"="+value)
		}
		return child.Start(t, child.Command{Name: "yardstick", Path: path, Env: vars})
	}}
}

// table shows each variant in a line, as min / median / max over the rounds.
func table(variants []variant, results map[string][]result, reference string) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "variant\torders/s\tof the yardstick\tCPU s\tpeak MB")
	for _, v := range variants {
		rates := figures(results[v.name], func(r result) float64 { return r.rate() })
		ratios := make([]float64, len(results[v.name]))
		for i, r := range results[v.name] {
			ratios[i] = r.rate() / results[reference][i].rate() // of the same round
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.name,
			spread("%.0f", rates), spread("%.2f", ratios),
			spread("%.1f", figures(results[v.name], func(r result) float64 { return r.cpu.Seconds() })),
			spread("%.0f", figures(results[v.name], func(r result) float64 { return r.peakMB })))
	}
	w.Flush()
	return text.String()
}

func figures(rs []result, of func(result) float64) []float64 {
	all := make([]float64, len(rs))
	for i, r := range rs {
		all[i] = of(r)
	}
	return all
}

func spread(format string, values []float64) string {
	slices.Sort(values)
	return fmt.Sprintf(format+" / "+format+" / "+format, values[0], values[len(values)/2], values[len(values)-1])
}

func TestTable(t *testing.T) {
	variants := []variant{{name: "a"}, {name: "hand"}}
	runs := map[string][]result{
		"a":    {{outcomes: 101, lasted: 1e9, cpu: 2e9, peakMB: 10}, {outcomes: 51, lasted: 1e9, cpu: 1e9, peakMB: 12}},
		"hand": {{outcomes: 201, lasted: 1e9, cpu: 1e9, peakMB: 8}, {outcomes: 201, lasted: 2e9, cpu: 1e9, peakMB: 8}},
	}
	require.Equal(t, `variant   orders/s          of the yardstick     CPU s             peak MB
a         50 / 100 / 100    0.50 / 0.50 / 0.50   1.0 / 2.0 / 2.0   10 / 12 / 12
hand      100 / 200 / 200   1.00 / 1.00 / 1.00   1.0 / 1.0 / 1.0   8 / 8 / 8
`, table(variants, runs, "hand"))
}
