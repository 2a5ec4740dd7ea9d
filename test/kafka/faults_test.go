package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"syscall"
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
			r.exactlyOnce(30_000, 90*time.Second)
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
	r.exactlyOnce(20_000, 90*time.Second)
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
	report := r.exactlyOnce(20_000, 120*time.Second)
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
	r.exactlyOnce(20_000, 120*time.Second)
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
	r.exactlyOnce(20_000, 60*time.Second)
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
	report := r.exactlyOnce(1000, 60*time.Second)
	require.Equal(t, 1000, report.DeadLettered)
}

func TestMostOrdersAreNotDelayedByTheFailing(t *testing.T) {
	r := newRun(t, 1)
	p := r.instance("")
	p.AwaitLog(t, "Input type kafka_transactional is now active", 20*time.Second)
	time.Sleep(3 * time.Second) // until the group has formed
	const orders = 2000
	delays := r.delays()
	begun := time.Now()
	require.NoError(t, <-r.stream(orders, 100*time.Millisecond))
	report := r.exactlyOnce(orders, 30*time.Second)
	took := time.Since(begun)
	require.Positive(t, report.DeadLettered)

	healthy := delays(report.Processed)
	median, p99 := healthy[len(healthy)/2], healthy[len(healthy)*99/100]
	t.Logf("%d orders, of which %d are dead letters, in %v", orders, report.DeadLettered, took.Round(time.Millisecond))
	t.Logf("healthy orders, from written to visible for a committed reader: median %v, p99 %v, max %v", median, p99, healthy[len(healthy)-1])
	for i, retry := range report.Retries {
		t.Logf("retry %d, later than promised: median %v, p99 %v, max %v", i+1, retry.Median, retry.P99, retry.Max)
		require.Equal(t, report.DeadLettered, retry.Count)
		require.Less(t, retry.Median, 100*time.Millisecond)
	}
	require.Less(t, took, 10*time.Second)
	require.Less(t, median, time.Second)
	require.Less(t, p99, 2*time.Second)
	require.NoError(t, p.Signal(syscall.SIGTERM))
}

// delays watches, from now on, how long orders take from their timestamp until a committed reader
// has their processed record. The function that it returns waits for n of them and sorts them.
func (r *run) delays() func(n int) []time.Duration {
	cl := r.cluster.Client(kgo.ConsumeTopics("orders", "orders-processed"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	r.t.Cleanup(cancel)
	found := make(chan time.Duration, 100_000) // so that nobody waits for who counts them
	go func() {
		written, visible := map[string]time.Time{}, map[string]time.Time{}
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			now := time.Now()
			fetches.EachRecord(func(rec *kgo.Record) {
				key := string(rec.Key)
				if rec.Topic == "orders" {
					written[key] = rec.Timestamp
				} else {
					visible[key] = now
				}
				if w, ok := written[key]; ok && !visible[key].IsZero() {
					found <- visible[key].Sub(w)
				}
			})
		}
	}()
	return func(n int) []time.Duration {
		r.t.Helper()
		over := time.After(10 * time.Second)
		var all []time.Duration
		for len(all) < n {
			select {
			case d := <-found:
				all = append(all, d)
			case <-over:
				r.t.Fatalf("a committed reader has seen %d of %d processed orders", len(all), n)
			}
		}
		slices.Sort(all)
		return all
	}
}

// After the death of one of two instances, its partitions flow again when the group and the
// broker have noticed. The README has the figures.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		named   bool
		restart bool
	}{
		{"no restart", false, false},
		{"restart with a random id", false, true},
		{"restart with instance_id", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRun(t, 1)
			name := func(s string) string {
				if c.named {
					return s
				}
				return ""
			}
			r.env["FAILURE_RATE"] = "0"
			r.instance(name("a"))
			victim := r.instance(name("b"))
			const orders = 12_000
			sent := r.stream(orders, 35*time.Second)
			time.Sleep(10 * time.Second) // until both have their share
			stalls := r.watch()
			victim.Kill()
			if c.restart {
				time.Sleep(300 * time.Millisecond)
				r.instance(name("b"))
			}
			require.NoError(t, <-sent)
			r.exactlyOnce(orders, 60*time.Second)
			t.Logf("longest time without a processed order, by partition: %v", stalls())
		})
	}
}

// watch reads the processed orders as they become visible to a committed reader. The function
// it returns gives, for each source partition, the longest time without one.
func (r *run) watch() func() []time.Duration {
	cl := r.cluster.Client(kgo.ConsumeTopics("orders-processed"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	longest, last := map[string]time.Duration{}, map[string]time.Time{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			now := time.Now()
			fetches.EachRecord(func(rec *kgo.Record) {
				for _, h := range rec.Headers {
					if h.Key != "origin" {
						continue
					}
					source := strings.Split(string(h.Value), "/")[1]
					if before, ok := last[source]; ok {
						longest[source] = max(longest[source], now.Sub(before))
					}
					last[source] = now
				}
			})
		}
	}()
	return func() []time.Duration {
		cancel()
		<-done
		var all []time.Duration
		for _, d := range longest {
			all = append(all, d.Round(100*time.Millisecond))
		}
		slices.Sort(all)
		return all
	}
}
