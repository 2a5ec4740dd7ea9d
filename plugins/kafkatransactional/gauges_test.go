package kafkatransactional

import (
	"context"
	"sync/atomic"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// gauges notes the values of metrics by name.
type gauges struct{ blocked, givenUp, aborted, waitingBytes atomic.Int64 }

func (g *gauges) of(name string) *atomic.Int64 {
	switch name {
	case "orderflow_kafka_transactional_blocked_keys":
		return &g.blocked
	case "orderflow_kafka_transactional_blocked_keys_given_up_total":
		return &g.givenUp
	case "orderflow_kafka_transactional_waiting_bytes":
		return &g.waitingBytes
	case "orderflow_kafka_transactional_aborted_total":
		return &g.aborted
	}
	return new(atomic.Int64)
}

func (g *gauges) NewCounterCtor(name string, _ ...string) service.MetricsExporterCounterCtor {
	return func(...string) service.MetricsExporterCounter { return gauge{g.of(name)} }
}

func (g *gauges) NewTimerCtor(string, ...string) service.MetricsExporterTimerCtor {
	return func(...string) service.MetricsExporterTimer { return gauge{new(atomic.Int64)} }
}

func (g *gauges) NewGaugeCtor(name string, _ ...string) service.MetricsExporterGaugeCtor {
	return func(...string) service.MetricsExporterGauge { return gauge{g.of(name)} }
}

func (g *gauges) Close(context.Context) error { return nil }

type gauge struct{ n *atomic.Int64 }

func (g gauge) Incr(n int64)   { g.n.Add(n) }
func (g gauge) Set(n int64)    { g.n.Store(n) }
func (g gauge) Timing(n int64) {}
