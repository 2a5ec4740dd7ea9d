package kafkatransactional

import "github.com/redpanda-data/benthos/v4/public/service"

// instruments are the input's metrics.
type instruments struct {
	waiting   *service.MetricGauge
	oldestDue *service.MetricGauge
	blocked   *service.MetricGauge
	aside     *service.MetricGauge
	givenUp   *service.MetricCounter
	paused    *service.MetricGauge
	committed *service.MetricCounter
	aborted   *service.MetricCounter
	barrier   *service.MetricTimer
	commit    *service.MetricTimer
	restore   *service.MetricTimer
	restored  *service.MetricCounter
}

func newInstruments(m *service.Metrics) *instruments {
	const prefix = "orderflow_" + pluginName + "_"
	return &instruments{
		waiting:   m.NewGauge(prefix + "waiting"),
		oldestDue: m.NewGauge(prefix + "oldest_overdue_seconds"),
		blocked:   m.NewGauge(prefix + "blocked_keys"),
		aside:     m.NewGauge(prefix + "partitions_aside"),
		givenUp:   m.NewCounter(prefix + "blocked_keys_given_up_total"),
		paused:    m.NewGauge(prefix + "fetch_paused"),
		committed: m.NewCounter(prefix + "committed_total"),
		aborted:   m.NewCounter(prefix + "aborted_total"),
		barrier:   m.NewTimer(prefix + "barrier_seconds"),
		commit:    m.NewTimer(prefix + "commit_seconds"),
		restore:   m.NewTimer(prefix + "restore_seconds"),
		restored:  m.NewCounter(prefix + "restored_records_total"),
	}
}
