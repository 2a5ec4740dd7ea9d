// Package soak runs the consumer for a long time against Apache Kafka, under steady load and with
// random faults, and asserts that what it takes stays level: memory, goroutines, open files, the
// size of the state topic and the time to restore it. At the end each order must have exactly one
// outcome.
package soak_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/cmd/orderflow/topics"
	"github.com/orderflow/orderflow/config"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
	"github.com/orderflow/orderflow/test/oracle"
)

const (
	// Env names the variable that says for how long, SeedEnv that of the faults.
	Env     = "SOAK"
	SeedEnv = "SOAK_SEED"

	rate       = 500 // orders a second
	stateTopic = "orders-state"
)

// soak is a cluster and two instances: one that is left alone, and one that faults strike.
type soak struct {
	t              *testing.T
	cluster        *kafka.Cluster
	run            time.Duration
	steady, victim *probe
	process        *child.Process // of the victim
	faults         map[string]int
}

func TestFiguresStayLevel(t *testing.T) {
	if os.Getenv(Env) == "" || runtime.GOOS != "linux" {
		t.Skipf("takes an hour, and needs Linux, Java 17 and Maven; run it with make soak, or make soak SOAK=5m")
	}
	run, err := time.ParseDuration(os.Getenv(Env))
	require.NoError(t, err, "%s: want a duration such as 1h", Env)
	seed := rand.Uint64()
	if text := os.Getenv(SeedEnv); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "%s: want a number", SeedEnv)
	}
	t.Logf("%v of load; the same faults again: %s=%d", run, SeedEnv, seed)

	s := newSoak(t, run)
	p, address := s.instance("steady")
	s.steady.watch(p.Pid(), address)
	s.restart()

	begun, orders := time.Now(), int(rate*run.Seconds())
	state, measured := s.measure(begun)
	sent := make(chan error, 1)
	client := s.cluster.Client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	go func() { sent <- load(client, orders, begun) }()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for pause := range pauses(rnd) {
		if time.Since(begun)+pause+30*time.Second > run { // the longest fault takes as long
			break
		}
		time.Sleep(pause)
		s.fault(rnd)
	}
	require.NoError(t, <-sent)
	measured()
	figures := s.figures(*state)
	var table strings.Builder
	require.NoError(t, write(&table, figures, run))
	t.Logf("faults: %v\n%s", s.faults, &table)

	s.exactlyOnce(orders)
	require.NoError(t, p.Terminate(20*time.Second))
	require.NoError(t, s.process.Terminate(20*time.Second))
	for _, f := range figures {
		require.NoError(t, f.judge(run))
	}
}

func newSoak(t *testing.T, run time.Duration) *soak {
	s := &soak{t: t, run: run, steady: newProbe("steady"), victim: newProbe("victim"), faults: map[string]int{}}
	s.cluster = kafka.Start(t, kafka.Options{Properties: map[string]string{"log.cleaner.backoff.ms": "1000"}})
	list, err := topics.Parse(config.Topics, func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	for _, topic := range list {
		if topic.Name == stateTopic {
			// The broker compacts whole segments only, and keeps tombstones for a time: in a run as
			// short as this, that has to happen more often for the size to be level at all.
			topic.Configs["segment.ms"] = strconv.FormatInt((run / 40).Milliseconds(), 10)
			topic.Configs["delete.retention.ms"] = topic.Configs["segment.ms"]
		}
		s.cluster.CreateTopic(topic.Name, topic.Partitions, topic.Configs)
	}
	return s
}

// instance starts a consumer and returns where its metrics are.
func (s *soak) instance(name string) (*child.Process, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	address := l.Addr().String()
	require.NoError(s.t, l.Close())
	return child.Start(s.t, child.Command{
		Name: name,
		Path: child.Orderflow(s.t),
		Args: []string{"run", "--set", "metrics.prometheus.add_go_metrics=true", "config/pipelines/consumer.yaml"},
		Dir:  child.Root(s.t),
		Env:  []string{"KAFKA_BROKERS=" + s.brokers(), "SESSION_TIMEOUT=6s", "INSTANCE_ID=" + name, "HTTP_ADDRESS=" + address},
	}), address
}

func (s *soak) brokers() string { return strings.Join(s.cluster.Addresses(), ",") }

// restart starts the victim.
func (s *soak) restart() {
	p, address := s.instance("victim")
	s.process = p
	s.victim.watch(p.Pid(), address)
}

// measure takes points until the function that it returns is called; what it took of the state
// topic may be read then.
func (s *soak) measure(begun time.Time) (state *figure, stop func()) {
	// The broker compacts when it likes to, so that the size goes up and down.
	state = &figure{name: "state topic", unit: "MB", level: &level{factor: 1.5, more: 1}}
	admin := kadm.NewClient(s.cluster.Client())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			at := time.Since(begun)
			s.steady.measure(ctx, at)
			s.victim.measure(ctx, at)
			if size, ok := sizeOnDisk(ctx, admin, stateTopic); ok {
				state.points = append(state.points, point{at, size / megabyte})
			}
		}
	}()
	return state, func() { cancel(); <-done }
}

// figures are all that was measured. Of processes, the one that is left alone is judged. What its
// heap holds after a collection goes up and down with the backlog that a fault leaves; 10 bytes
// lost with each order would be 4 MB in the half of an hour that lies between the two medians.
// The memory that it has of the kernel says less: the runtime is slow to give it back.
func (s *soak) figures(state figure) []figure {
	p := s.steady
	p.memory.level = &level{factor: 1.25, more: 8}
	p.heap.level = &level{factor: 1.1, more: 2}
	p.goroutines.level = &level{factor: 1, more: 10}
	p.files.level = &level{factor: 1, more: 10}
	// Restores are few, and those of the victim's starts and of a rebalance are alike: both
	// instances' are one figure.
	restores := figure{"restore", "s", append(p.restores, s.victim.restores...), &level{factor: 2, more: 0.5}}
	restored := figure{"records restored", "", append(p.restored, s.victim.restored...), &level{factor: 2, more: 1000}}
	all := []figure{state, restores, restored}
	for _, p := range []*probe{s.steady, s.victim} {
		all = append(all, p.memory, p.heap, p.goroutines, p.files, p.waiting)
	}
	return all
}

// exactlyOnce holds the whole run against the oracle, `audit` and `aggregates`.
func (s *soak) exactlyOnce(orders int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	judge := oracle.New(oracle.Config{}, kgo.SeedBrokers(s.cluster.Addresses()...))
	report, err := judge.AwaitOutcomes(ctx, orders)
	require.NoError(s.t, err)
	s.t.Logf("%v; retries late by %+v", report, report.Retries)
	require.NoError(s.t, report.ExactlyOnce())
	require.Equal(s.t, orders, report.Orders)
	require.NoError(s.t, report.Aggregates.CompareJSON(s.command("aggregates", "--json")))
	var audit struct {
		OK     bool `json:"ok"`
		Orders int  `json:"orders"`
	}
	require.NoError(s.t, json.Unmarshal(s.command("audit", "--json"), &audit))
	require.True(s.t, audit.OK)
	require.Equal(s.t, orders, audit.Orders)
}

func (s *soak) command(args ...string) []byte {
	cmd := exec.Command(child.Orderflow(s.t), args...)
	cmd.Env = append(cmd.Environ(), "KAFKA_BROKERS="+s.brokers())
	out, err := cmd.Output()
	require.NoError(s.t, err, "orderflow %v: %s", args, out)
	return out
}
