package backoffretry

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/counter"
)

// report counts, for the metrics and for the summary at the end.
type report struct {
	attemptsTotal    *counter.Counter
	retriesTotal     *service.MetricCounter
	recoveredTotal   *service.MetricCounter
	exhaustedTotal   *service.MetricCounter
	permanentTotal   *service.MetricCounter
	checkErrorsTotal *service.MetricCounter
	unansweredTotal  *service.MetricCounter
	waitingGauge     *service.MetricGauge

	attempts, recovered, exhausted, permanent atomic.Int64
	retries                                   []atomic.Int64
	// waits holds how many wait, by retry. The host's gauge with labels begins at 0 each time it
	// is asked for, so it can only be set.
	waits []atomic.Int64
	// numbers are the label values of the retries, made once.
	numbers []string

	mu      sync.Mutex
	leaving map[departure]int64 // how many messages stop to wait then
}

// departure is the end of waits for a retry, at a time in Unix nanoseconds.
type departure struct {
	retry int
	at    int64
}

const leaveTogether = 100 * time.Millisecond

func newReport(m *service.Metrics, retries int) *report {
	attempts := m.NewCounter("orderflow_backoff_retry_attempts_total")
	r := &report{
		attemptsTotal:    counter.New(func(by int64) { attempts.Incr(by) }),
		retriesTotal:     m.NewCounter("orderflow_backoff_retry_retries_total", "retry"),
		recoveredTotal:   m.NewCounter("orderflow_backoff_retry_recovered_total"),
		exhaustedTotal:   m.NewCounter("orderflow_backoff_retry_exhausted_total"),
		permanentTotal:   m.NewCounter("orderflow_backoff_retry_permanent_total"),
		checkErrorsTotal: m.NewCounter("orderflow_backoff_retry_check_errors_total"),
		unansweredTotal:  m.NewCounter("orderflow_backoff_retry_unanswered_total"),
		waitingGauge:     m.NewGauge("orderflow_backoff_retry_waiting", "retry"),
		retries:          make([]atomic.Int64, retries),
		waits:            make([]atomic.Int64, retries),
		numbers:          make([]string, retries),
		leaving:          map[departure]int64{},
	}
	for i := range r.numbers {
		r.numbers[i] = strconv.Itoa(i + 1)
	}
	return r
}

// started counts an attempt, counted from 1.
func (r *report) started(attempt int) {
	r.attempts.Add(1)
	r.attemptsTotal.Add(1)
	if retry := attempt - 1; retry >= 1 && retry <= len(r.retries) {
		r.retries[retry-1].Add(1)
		r.retriesTotal.Incr(1, r.numbers[retry-1])
	}
}

// wait counts messages that wait for a retry: more of them, or with a negative number fewer.
func (r *report) wait(retry int, by int64) {
	r.waitingGauge.Set(r.waits[retry-1].Add(by), r.numbers[retry-1])
}

// waitUntil counts a message that waits elsewhere, until it is due. Those that are due in the same
// tenth of a second end together, since a timer for each would cost more than the rest of a wait.
func (r *report) waitUntil(retry int, due time.Time) {
	r.wait(retry, 1)
	end := departure{retry, due.Truncate(leaveTogether).Add(leaveTogether).UnixNano()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving[end]++
	if r.leaving[end] > 1 {
		return
	}
	time.AfterFunc(time.Until(time.Unix(0, end.at)), func() {
		r.mu.Lock()
		n := r.leaving[end]
		delete(r.leaving, end)
		r.mu.Unlock()
		r.wait(retry, -n)
	})
}

func (r *report) passed(attempt int) {
	if attempt > 1 {
		r.recovered.Add(1)
		r.recoveredTotal.Incr(1)
	}
}

func (r *report) failed(v verdict) {
	if v == hopeless {
		r.permanent.Add(1)
		r.permanentTotal.Incr(1)
		return
	}
	r.exhausted.Add(1)
	r.exhaustedTotal.Incr(1)
}

// section writes the summary.
func (r *report) section(w io.Writer, title string) {
	if r.attempts.Load() == 0 {
		return
	}
	var total int64
	var each []string
	for i := range r.retries {
		if n := r.retries[i].Load(); n > 0 {
			total += n
			each = append(each, fmt.Sprintf("retry %s: %d", r.numbers[i], n))
		}
	}
	detail := ""
	if len(each) > 0 {
		detail = " (" + strings.Join(each, ", ") + ")"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, title)
	fmt.Fprintf(t, "  attempts\t%d\n", r.attempts.Load())
	fmt.Fprintf(t, "  retries\t%d%s\n", total, detail)
	fmt.Fprintf(t, "  recovered\t%d\n", r.recovered.Load())
	fmt.Fprintf(t, "  exhausted\t%d\n", r.exhausted.Load())
	fmt.Fprintf(t, "  permanent failures\t%d\n", r.permanent.Load())
	t.Flush()
}
