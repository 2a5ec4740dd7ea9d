package dlqredrive

import (
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/redrive"
)

// instruments are the metrics. They count what was committed.
type instruments struct {
	matched *service.MetricCounter
	sent    *service.MetricCounter
	parked  *service.MetricCounter
	refused *service.MetricCounter
	aborted *service.MetricCounter
}

func newInstruments(m *service.Metrics) *instruments {
	const prefix = "orderflow_" + pluginName + "_"
	return &instruments{
		matched: m.NewCounter(prefix + "matched_total"),
		sent:    m.NewCounter(prefix + "sent_total"),
		parked:  m.NewCounter(prefix + "parked_total"),
		refused: m.NewCounter(prefix+"refused_total", "reason"),
		aborted: m.NewCounter(prefix + "aborted_total"),
	}
}

// add counts what came between two counts.
func (i *instruments) add(before, after redrive.Counts) {
	i.matched.Incr(after.Matched - before.Matched)
	i.sent.Incr(after.Sent - before.Sent)
	i.parked.Incr(after.Parked - before.Parked)
	for reason, n := range after.Refused {
		if n -= before.Refused[reason]; n > 0 {
			i.refused.Incr(n, reason)
		}
	}
}
