package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// heapFloor is a heap, in bytes, that is not worth collecting. A pipeline keeps little and
	// allocates a lot, so that by Go's rule (collect when the heap has doubled) it would collect
	// dozens of times a second.
	heapFloor = 192 << 20
	// defaultPercent is Go's rule, which holds where much is kept, such as orders that wait.
	defaultPercent = 100
	// reserve is how far a heap that is small may outgrow heapFloor before its pace is set anew,
	// which on a busy machine comes late.
	reserve = 48 << 20
)

// paceCollector lets the heap grow to heapFloor before it is collected. Whoever sets GOGC or
// GOMEMLIMIT has decided otherwise.
func paceCollector() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	pace(new(cycle))
}

// cycle is garbage from one collection to the next.
type cycle struct{ percent int }

// pace sets when the next collection begins, after each collection: a finalizer is the runtime's
// only sign of one.
func pace(c *cycle) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := gcPercent(live[0].Value.Uint64())
	if percent != c.percent {
		debug.SetGCPercent(percent)
		limit := int64(math.MaxInt64)
		if percent > defaultPercent {
			limit = heapFloor + reserve
		}
		debug.SetMemoryLimit(limit)
	}
	next := &cycle{percent}
	runtime.SetFinalizer(next, pace)
}

// gcPercent is the value of GOGC with which a heap that keeps live bytes is collected at
// heapFloor, or when it has doubled.
func gcPercent(live uint64) int {
	if live == 0 {
		return defaultPercent
	}
	percent := math.Round(100 * (float64(heapFloor)/float64(live) - 1))
	return int(min(max(percent, defaultPercent), 1000))
}
