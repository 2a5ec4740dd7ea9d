//go:build synctests

// The tag is franz-go's: with it the client's mutexes are such that a bubble's clock goes on
// while somebody waits for one, as happens when a rebalance meets a commit.

package simulation

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	envSeeds = "SEEDS"          // how many schedules
	envFrom  = "SIMULATE_FROM"  // the first of their seeds
	envSeed  = "SIMULATE_SEED"  // one schedule
	envTimes = "SIMULATE_TIMES" // how often
	envLog   = "SIMULATE_LOG"   // with what the instances log
	envChild = "SIMULATE_CHILD" // the seeds of a child process

	defaultSeeds = 200
	// perChild bounds how many schedules one process plays: the plugins' registries keep a
	// little of each.
	perChild = 50
	// patience bounds how long one schedule may take, in real time. One that takes longer has
	// come to a state in which its clock cannot go on, or goes on for ever.
	patience = 5 * time.Minute
)

func number(t *testing.T, name string, byDefault int) int {
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s: %q is no number", name, text)
	}
	return n
}

// TestSchedules plays schedules in child processes, as many at a time as there are processors:
// so that one that panics, or never ends, takes no other one along.
func TestSchedules(t *testing.T) {
	if os.Getenv(envChild) != "" {
		playAll(t)
		return
	}
	var runs []uint64
	if os.Getenv(envSeed) != "" {
		seed := uint64(number(t, envSeed, 0))
		for range number(t, envTimes, 1) {
			runs = append(runs, seed)
		}
	} else {
		from := number(t, envFrom, 0)
		for n := range number(t, envSeeds, defaultSeeds) {
			runs = append(runs, uint64(from+n))
		}
	}
	most := int64(20) // failures are enough to look at
	if flag.Lookup("test.failfast").Value.String() == "true" {
		most = 1
	}
	began := time.Now()
	todo := make(chan []uint64)
	var played, events, failed atomic.Int64
	var workers sync.WaitGroup
	for range max(1, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for seeds := range todo {
				for len(seeds) > 0 && failed.Load() < most {
					seeds = child(t, seeds, &played, &events, &failed)
				}
			}
		})
	}
	for len(runs) > 0 && failed.Load() < most {
		n := min(perChild, len(runs))
		todo <- runs[:n]
		runs = runs[n:]
	}
	close(todo)
	workers.Wait()
	t.Logf("%d schedules with %d events, %d failed, in %v", played.Load(), events.Load(), failed.Load(), time.Since(began).Round(100*time.Millisecond))
}

// child plays seeds in a process of its own and returns those that it did not come to.
func child(t *testing.T, seeds []uint64, played, events, failed *atomic.Int64) []uint64 {
	cmd := exec.Command(os.Args[0], "-test.run=^TestSchedules$", "-test.timeout=0", "-test.v")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=400", envChild+"="+strings.Trim(fmt.Sprint(seeds), "[]"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if os.Getenv(envLog) != "" {
		cmd.Stderr = os.Stderr
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	var rest strings.Builder
	judged := false // whether the last seed has a verdict
	for lines.Scan() {
		verdict, found := strings.CutPrefix(lines.Text(), "played ")
		if !found {
			judged = judged && !strings.Contains(lines.Text(), "=== RUN")
			fmt.Fprintln(&rest, lines.Text())
			continue
		}
		watchdog.Reset(patience)
		if text, err := strconv.Unquote(verdict); err == nil && text != "" {
			failed.Add(1)
			report(t, seeds[0], text)
		}
		played.Add(1)
		events.Add(int64(len(newPlan(seeds[0]).events)))
		seeds, judged = seeds[1:], true
		rest.Reset()
	}
	watchdog.Stop()
	switch err := cmd.Wait(); {
	case err == nil || len(seeds) == 0:
		return nil
	case judged: // a schedule that could not end has taken the process along
		return seeds
	default:
		failed.Add(1)
		text := strings.Join(telling(rest.String()+stderr.String()), "\n\n")
		report(t, seeds[0], fmt.Sprintf("%v: %s", err, text[:min(len(text), 50_000)]))
		return seeds[1:]
	}
}

func report(t *testing.T, seed uint64, text string) {
	t.Errorf("%v\n%s\nrun it again, as often as it takes:\n  %s=%d %s=50 go test -tags synctests ./test/simulation -run TestSchedules",
		newPlan(seed), text, envSeed, seed, envTimes)
}

// playAll plays the seeds that the parent has given.
func playAll(t *testing.T) {
	for text := range strings.FieldsSeq(os.Getenv(envChild)) {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		verdict := ""
		t.Run(text, func(t *testing.T) {
			if err := play(t, seed); err != nil {
				verdict = err.Error()
			}
		})
		fmt.Printf("played %q\n", verdict)
	}
}

// play plays the schedule of a seed once.
func play(t *testing.T, seed uint64) (err error) {
	p := newPlan(seed)
	if os.Getenv(envLog) != "" {
		p.log = os.Stderr
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p)
		defer w.close()
		err = w.run()
	})
	return err
}
