package deadletter

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/counter"
	"github.com/orderflow/orderflow/internal/terminal"
)

const (
	// maxCodes bounds the codes that are told apart; the others share otherCode.
	maxCodes  = 50
	otherCode = "other"
)

// report counts, for the metrics and for the summary at the end.
type report struct {
	passedTotal  *counter.Counter
	total        *service.MetricCounter
	putBackTotal *service.MetricCounter

	passed atomic.Int64

	mu      sync.Mutex // guards what follows
	letters int64
	byCode  map[kind]int64
}

type kind struct{ class, code string }

func newReport(m *service.Metrics) *report {
	passed := m.NewCounter("orderflow_dead_letter_passed_total")
	return &report{
		passedTotal:  counter.New(func(by int64) { passed.Incr(by) }),
		total:        m.NewCounter("orderflow_dead_letter_total", "class", "code"),
		putBackTotal: m.NewCounter("orderflow_dead_letter_put_back_total"),
		byCode:       map[kind]int64{},
	}
}

func (r *report) pass() {
	r.passed.Add(1)
	r.passedTotal.Add(1)
}

func (r *report) letter(class, code string) {
	r.mu.Lock()
	k := kind{class, code}
	if _, known := r.byCode[k]; !known && len(r.byCode) >= maxCodes {
		k.code = otherCode
	}
	r.byCode[k]++
	r.letters++
	r.mu.Unlock()
	r.total.Incr(1, k.class, k.code)
}

// section writes the summary of all that was seen.
func (r *report) section(w io.Writer, title string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	passed := r.passed.Load()
	seen := passed + r.letters
	if seen == 0 {
		return
	}
	fmt.Fprintln(w, title)
	t := terminal.Table{Left: terminal.AllLeft, Indent: "  "}
	t.Row("seen", seen)
	t.Row("passed", passed)
	t.Row("dead-lettered", r.letters)
	t.Row("success rate", percent(passed, seen)+" %")
	r.codes(&t, "  ")
	t.Flush(w)
}

// refusals writes the summary of an instance that only sees what an output refused.
func (r *report) refusals(w io.Writer, title string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.letters == 0 {
		return
	}
	t := terminal.Table{Left: terminal.AllLeft}
	t.Row(title, r.letters)
	r.codes(&t, "  ")
	t.Flush(w)
}

func (r *report) codes(t *terminal.Table, indent string) {
	kinds := make([]kind, 0, len(r.byCode))
	for k := range r.byCode {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b kind) int {
		return cmp.Or(cmp.Compare(r.byCode[b], r.byCode[a]), cmp.Compare(a.class, b.class), cmp.Compare(a.code, b.code))
	})
	for _, k := range kinds {
		t.Row(indent+terminal.Line(k.code, 80)+" ("+k.class+")", r.byCode[k])
	}
}

// percent returns 100×part/whole with one decimal. It rounds down, so that 100.0 means all.
func percent(part, whole int64) string {
	tenths := part * 1000 / whole
	return fmt.Sprintf("%d.%d", tenths/10, tenths%10)
}
