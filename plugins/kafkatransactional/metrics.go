package kafkatransactional

import "github.com/redpanda-data/benthos/v4/public/service"

// instruments are the input's metrics.
type instruments struct {
	waiting   *service.MetricGauge
	bytes     *service.MetricGauge
	oldestDue *service.MetricGauge
	blocked   *service.MetricGauge
	aside     *service.MetricGauge
	givenUp   *service.MetricCounter
	unread    *service.MetricCounter
	paused    *service.MetricGauge
	committed *service.MetricCounter
	aborted   *service.MetricCounter
	stuck     *service.MetricGauge
	barrier   *service.MetricTimer
	commit    *service.MetricTimer
	restore   *service.MetricTimer
	restored  *service.MetricCounter
}

func newInstruments(m *service.Metrics) *instruments {
	const prefix = "orderflow_" + pluginName + "_"
	return &instruments{
		waiting:   m.NewGauge(prefix + "waiting"),
		bytes:     m.NewGauge(prefix + "waiting_bytes"),
		oldestDue: m.NewGauge(prefix + "oldest_overdue_seconds"),
		blocked:   m.NewGauge(prefix + "blocked_keys"),
		aside:     m.NewGauge(prefix + "partitions_aside"),
		givenUp:   m.NewCounter(prefix + "blocked_keys_given_up_total"),
		unread:    m.NewCounter(prefix + "unread_batches_total"),
		paused:    m.NewGauge(prefix + "fetch_paused"),
		committed: m.NewCounter(prefix + "committed_total"),
		aborted:   m.NewCounter(prefix + "aborted_total"),
		stuck:     m.NewGauge(prefix + "aborts_in_a_row"),
		barrier:   m.NewTimer(prefix + "barrier_seconds"),
		commit:    m.NewTimer(prefix + "commit_seconds"),
		restore:   m.NewTimer(prefix + "restore_seconds"),
		restored:  m.NewCounter(prefix + "restored_records_total"),
	}
}
