package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

const consumer = "config/pipelines/consumer.yaml"

// run is a pipeline under faults: a cluster with its topics, and instances.
type run struct {
	t       *testing.T
	cluster *Cluster
	env     map[string]string
	oracle  *oracle.Oracle
}

func newRun(t *testing.T, brokers int) *run {
	r := &run{t: t, cluster: Start(t, Options{Brokers: brokers, Properties: map[string]string{"broker.session.timeout.ms": "6000"}})}
	list := strings.Join(r.cluster.Addresses(), ",")
	minInSync := "1"
	if brokers > 1 {
		minInSync = "2"
	}
	create := exec.Command(child.Orderflow(t), "topics", "create")
	create.Env = append(create.Environ(), "KAFKA_BROKERS="+list, fmt.Sprintf("TOPIC_REPLICATION=%d", brokers), "TOPIC_MIN_INSYNC="+minInSync)
	out, err := create.CombinedOutput()
	require.NoError(t, err, "%s", out)
	r.env = map[string]string{"KAFKA_BROKERS": list, "SESSION_TIMEOUT": "6s"}
	r.oracle = oracle.New(oracle.Config{}, kgo.SeedBrokers(r.cluster.Addresses()...), kgo.MetadataMinAge(100*time.Millisecond))
	return r
}

// instance starts a consumer. A name makes it a static member that keeps it over restarts.
func (r *run) instance(name string) *child.Process {
	env := map[string]string{"HTTP_ADDRESS": fmt.Sprintf("127.0.0.1:%d", freePorts(r.t, 1)[0]), "INSTANCE_ID": name}
	for k, v := range r.env {
		env[k] = v
	}
	return child.Run(r.t, consumer, env)
}

// stream writes n orders evenly over d, from a goroutine of its own.
func (r *run) stream(n int, d time.Duration) (done <-chan error) {
	cl := r.cluster.Client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	schema, err := order.ParseSchema(schemas.Order)
	require.NoError(r.t, err)
	enc, err := order.NewEncoder(schema)
	require.NoError(r.t, err)
	products := []string{"Pen", "Ink", "Paper", "Desk Lamp"}
	result := make(chan error, 1)
	go func() {
		rnd := rand.New(rand.NewPCG(1, 2))
		begun := time.Now()
		for i := range n {
			if wait := time.Until(begun.Add(d * time.Duration(i) / time.Duration(n))); wait > 0 {
				time.Sleep(wait) // paces the load
			}
			o := order.Order{ID: fmt.Sprintf("o-%d", i), Product: products[i%len(products)], Price: float64(rnd.IntN(50000)+1) / 100}
			value, err := enc.Append(nil, o)
			if err != nil {
				result <- err
				return
			}
			cl.Produce(context.Background(), &kgo.Record{Topic: "orders", Key: []byte(o.ID), Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					select {
					case result <- err:
					default:
					}
				}
			})
		}
		result <- cl.Flush(context.Background())
	}()
	return result
}

// exactlyOnce waits until all orders have an outcome and then holds them against the oracle,
// `audit` and `aggregates`.
func (r *run) exactlyOnce(n int, patience time.Duration) oracle.Report {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begun := time.Now()
	report, err := r.oracle.AwaitOutcomes(ctx, n)
	require.NoError(r.t, err)
	r.t.Logf("all outcomes %v after the last fault: %v; retries late by %+v", time.Since(begun).Round(time.Millisecond), report, report.Retries)
	require.NoError(r.t, report.ExactlyOnce())

	out := r.command("aggregates", "--json")
	require.NoError(r.t, report.Aggregates.CompareJSON(out))
	var audit struct {
		OK     bool `json:"ok"`
		Orders int  `json:"orders"`
	}
	require.NoError(r.t, json.Unmarshal(r.command("audit", "--json"), &audit))
	require.True(r.t, audit.OK)
	require.Equal(r.t, n, audit.Orders)
	return report
}

func (r *run) command(args ...string) []byte {
	cmd := exec.Command(child.Orderflow(r.t), args...)
	cmd.Env = append(cmd.Environ(), "KAFKA_BROKERS="+r.env["KAFKA_BROKERS"])
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		r.t.Fatalf("orderflow %v: %v\n%s%s", args, err, out, exit.Stderr)
	}
	require.NoError(r.t, err)
	return out
}

// Those that run in parallel mostly wait. What is timed runs alone, before them.
func TestAnInstanceIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, named := range []bool{false, true} {
		t.Run(fmt.Sprintf("instance_id=%v", named), func(t *testing.T) {
			t.Parallel()
			r := newRun(t, 1)
			names := []string{"", ""}
			if named {
				names = []string{"a", "b"}
			}
			steady := r.instance(names[0])
			victim := r.instance(names[1])
			rnd := rand.New(rand.NewPCG(3, 4))
			sent := r.stream(30_000, 40*time.Second)
			for end := time.Now().Add(40 * time.Second); time.Now().Before(end); {
				time.Sleep(2*time.Second + time.Duration(rnd.IntN(2000))*time.Millisecond) // between faults
				victim.Kill()
				victim = r.instance(names[1])
			}
			require.NoError(t, <-sent)
			r.exactlyOnce(30_000, child.Patience)
			require.NoError(t, victim.Terminate(10*time.Second))
			require.NoError(t, steady.Terminate(10*time.Second))
		})
	}
}

func TestAnInstanceIsFrozenBeyondItsTimeouts(t *testing.T) {
	t.Parallel()
	r := newRun(t, 1)
	r.instance("")
	victim := r.instance("")
	sent := r.stream(20_000, 45*time.Second)
	for _, frozen := range []time.Duration{8 * time.Second, 16 * time.Second, 12 * time.Second} {
		time.Sleep(2 * time.Second) // some load between faults
		require.NoError(t, victim.Freeze())
		time.Sleep(frozen)
		require.NoError(t, victim.Thaw())
	}
	require.NoError(t, <-sent)
	r.exactlyOnce(20_000, child.Patience)
}

func TestTheBrokerGoesAway(t *testing.T) {
	t.Parallel()
	r := newRun(t, 1)
	r.instance("")
	r.instance("")
	sent := r.stream(20_000, 35*time.Second)
	time.Sleep(8 * time.Second) // some load before the fault
	r.cluster.Kill(0)
	time.Sleep(15 * time.Second)
	r.cluster.Start(0)
	require.NoError(t, <-sent)
	report := r.exactlyOnce(20_000, child.Patience)
	require.Zero(t, report.Classes["permanent"])
}

func TestOneOfThreeBrokersIsKilledAtATime(t *testing.T) {
	r := newRun(t, 3)
	r.instance("")
	r.instance("")
	sent := r.stream(20_000, 60*time.Second)
	for i := range 3 {
		time.Sleep(4 * time.Second) // some load between faults
		r.cluster.Kill(i)
		time.Sleep(5 * time.Second)
		r.cluster.Start(i)
		r.cluster.AwaitInSync()
	}
	require.NoError(t, <-sent)
	r.exactlyOnce(20_000, child.Patience)
}

func TestInstancesJoinAndLeave(t *testing.T) {
	t.Parallel()
	r := newRun(t, 1)
	live := []*child.Process{r.instance("")}
	sent := r.stream(20_000, 30*time.Second)
	for range 4 {
		time.Sleep(3 * time.Second) // some load between faults
		live = append(live, r.instance(""))
		time.Sleep(3 * time.Second)
		require.NoError(t, live[0].Terminate(10*time.Second))
		live = live[1:]
	}
	require.NoError(t, <-sent)
	r.exactlyOnce(20_000, child.Patience)
}

// As in a rolling update that starts the new before it stops the old.
func TestInstancesOfOneNameTakeTurns(t *testing.T) {
	t.Parallel()
	r := newRun(t, 1)
	first := r.instance("a")
	sent := r.stream(20_000, 40*time.Second)
	time.Sleep(5 * time.Second) // some load before the fault
	second := r.instance("a")
	before, err := r.oracle.Read(context.Background())
	require.NoError(t, err)
	time.Sleep(25 * time.Second) // while both live
	after, err := r.oracle.Read(context.Background())
	require.NoError(t, err)
	require.Greater(t, after.Processed, before.Processed+2000)
	require.NoError(t, first.Terminate(10*time.Second))
	require.NoError(t, <-sent)
	r.exactlyOnce(20_000, child.Patience)
	require.NoError(t, second.Terminate(10*time.Second))
}

func TestAStopWithManyOrdersWaiting(t *testing.T) {
	r := newRun(t, 1)
	r.env["FAILURE_RATE"], r.env["BREAKER_RATIO"] = "1", "0"
	first := r.instance("")
	sent := r.stream(1000, 200*time.Millisecond)
	require.NoError(t, <-sent)
	time.Sleep(4 * time.Second) // until they wait for the third attempt
	begun := time.Now()
	require.NoError(t, first.Terminate(5*time.Second))
	t.Logf("stopped in %v", time.Since(begun).Round(time.Millisecond))
	r.instance("")
	report := r.exactlyOnce(1000, child.Patience)
	require.Equal(t, 1000, report.DeadLettered)
}
