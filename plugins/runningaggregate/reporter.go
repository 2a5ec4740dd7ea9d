package runningaggregate

import (
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/shown"
)

// minGaugeInterval bounds how often gauges are set when each message is logged.
const minGaugeInterval = time.Second

// reporter shows running figures while they change. The first change is shown at once, later
// ones at most once per interval; the last change is never left unshown, since a timer is set
// for it. While nothing changes there is no timer and no goroutine.
type reporter struct {
	interval time.Duration // of the log; 0: each message is logged by logMessage
	figures  func() aggregate.Groups
	logger   *service.Logger
	gauges   gauges

	mu     sync.Mutex // also keeps an older figure from overwriting a newer one
	last   time.Time  // when figures were last shown
	timer  *time.Timer
	closed bool
}

func newReporter(figures func() aggregate.Groups, interval time.Duration, logger *service.Logger, g gauges) *reporter {
	return &reporter{interval: interval, figures: figures, logger: logger, gauges: g}
}

// changed is called after the figures changed.
func (r *reporter) changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.timer != nil {
		return
	}
	interval := r.interval
	if interval == 0 {
		interval = minGaugeInterval
	}
	if wait := interval - time.Since(r.last); wait > 0 && !r.last.IsZero() {
		r.timer = time.AfterFunc(wait, r.due)
		return
	}
	r.show()
}

func (r *reporter) due() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil { // else close was faster
		r.timer = nil
		r.show()
	}
}

// close shows what is not yet shown.
func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
		r.show()
	}
}

// show is called with the lock held.
func (r *reporter) show() {
	figures := r.figures()
	r.gauges.set(figures)
	r.last = time.Now()
	if r.interval == 0 {
		return
	}
	all := figures.Overall()
	line := r.logger.With(
		"count", all.Count(),
		"average", shown.Number(all.Average()),
		"min", shown.Number(all.Min()),
		"max", shown.Number(all.Max()),
		"sum", shown.Number(all.Sum()),
		"groups", figures.Len(),
	)
	if figures.Partial() {
		line = line.With("groups_partial", true)
	}
	line.Info("Running aggregate")
}

// logMessage shows one message, for an interval of 0.
func (r *reporter) logMessage(group string, value aggregate.Decimal, count int64, average aggregate.Decimal) {
	r.logger.With(
		"group", shown.Text(group),
		"value", shown.Number(value),
		"count", count,
		"average", shown.Number(average),
	).Info("Running aggregate")
}

// gauges are the figures as metrics: float64, since that is what metrics are.
type gauges struct {
	overall, group gaugeSet
}

type gaugeSet struct {
	count, sum, min, max, average *service.MetricGauge
}

func newGauges(m *service.Metrics) gauges {
	set := func(prefix string, labels ...string) gaugeSet {
		return gaugeSet{
			count:   m.NewGauge(prefix+"count", labels...),
			sum:     m.NewGauge(prefix+"sum", labels...),
			min:     m.NewGauge(prefix+"min", labels...),
			max:     m.NewGauge(prefix+"max", labels...),
			average: m.NewGauge(prefix+"average", labels...),
		}
	}
	return gauges{overall: set("orderflow_aggregate_"), group: set("orderflow_aggregate_group_", "group")}
}

func (g gauges) set(figures aggregate.Groups) {
	g.overall.set(figures.Overall())
	for name, p := range figures.All() {
		g.group.set(p, shown.Text(name))
	}
}

func (s gaugeSet) set(p aggregate.Partial, labels ...string) {
	s.count.Set(p.Count(), labels...)
	s.sum.SetFloat64(p.Sum().Float64(), labels...)
	s.min.SetFloat64(p.Min().Float64(), labels...)
	s.max.SetFloat64(p.Max().Float64(), labels...)
	s.average.SetFloat64(p.Average().Float64(), labels...)
}
