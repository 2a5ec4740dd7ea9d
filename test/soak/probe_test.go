package soak_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// interval is the time between two measurements, and the patience with one.
const interval = 2 * time.Second

const megabyte = 1 << 20

const metricPrefix = "orderflow_kafka_transactional_"

// probe measures an instance from the outside. It outlives the restarts of its process.
type probe struct {
	mu      sync.Mutex
	pid     int // 0 while there is no process
	address string

	memory, heap, goroutines, files, waiting figure
	restores, restored                       []point // for each, the mean since the point before
	last                                     counts
}

// counts is what an instance has counted of its restores since it was started.
type counts struct{ count, seconds, records float64 }

func newProbe(name string) *probe {
	of := func(what, unit string) figure { return figure{name: name + ": " + what, unit: unit} }
	return &probe{
		memory: of("memory", "MB"), heap: of("live heap", "MB"), goroutines: of("goroutines", ""), files: of("open files", ""), waiting: of("orders waiting", ""),
	}
}

// watch says which process to measure from now on; 0 is none.
func (p *probe) watch(pid int, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid, p.address, p.last = pid, address, counts{}
}

// measure takes a point of each figure. What cannot be measured, since the process is not there,
// starts, ends or is frozen, is left out.
func (p *probe) measure(ctx context.Context, at time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return
	}
	// First what comes from the kernel, without the connection that is asked for below.
	memory, err := resident(p.pid)
	files, err2 := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	metrics, err3 := scrape(ctx, p.address)
	if err != nil || err2 != nil || err3 != nil || metrics[metricPrefix+"committed_total"] == 0 {
		return // it has not begun to work, or has ended
	}
	add := func(points *[]point, value float64) { *points = append(*points, point{at, value}) }
	add(&p.memory.points, memory/megabyte)
	// The collector runs next when what it has left has grown by GOGC.
	add(&p.heap.points, metrics["go_memstats_next_gc_bytes"]/(1+metrics["go_gc_gogc_percent"]/100)/megabyte)
	add(&p.files.points, float64(len(files)))
	add(&p.goroutines.points, metrics["go_goroutines"])
	add(&p.waiting.points, metrics[metricPrefix+"waiting"])

	now := counts{metrics[metricPrefix+"restore_seconds_count"], metrics[metricPrefix+"restore_seconds_sum"], metrics[metricPrefix+"restored_records_total"]}
	if n := now.count - p.last.count; n > 0 {
		add(&p.restores, (now.seconds-p.last.seconds)/n)
		add(&p.restored, (now.records-p.last.records)/n)
	}
	p.last = now
}

// resident returns the bytes of memory that a process has.
func resident(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("reading memory of process %d: it has ended", pid)
	}
	kilobytes, err := strconv.ParseFloat(fields[0], 64)
	return kilobytes * 1024, err
}

// scrape returns the metrics of an instance, added up over their labels.
func scrape(ctx context.Context, address string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, interval)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	sums := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, _, _ := strings.Cut(lines.Text(), "{")
		name, _, _ = strings.Cut(name, " ")
		if value, err := strconv.ParseFloat(lines.Text()[strings.LastIndex(lines.Text(), " ")+1:], 64); err == nil {
			sums[name] += value
		}
	}
	return sums, nil
}

// sizeOnDisk returns the bytes that a topic takes on all brokers. While one is away there is
// none to be had.
func sizeOnDisk(ctx context.Context, admin *kadm.Client, topic string) (size float64, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, interval)
	defer cancel()
	brokers, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return 0, false
	}
	for _, dirs := range brokers {
		for _, dir := range dirs {
			for _, partition := range dir.Topics[topic] {
				size, ok = size+float64(partition.Size), true
			}
		}
	}
	return size, ok
}
