package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics that the demo reads, and the label with the number of a retry.
const (
	metricRetries  = "orderflow_backoff_retry_retries_total"
	metricWaiting  = "orderflow_backoff_retry_waiting"       // in the pipeline, or
	metricInState  = "orderflow_kafka_transactional_waiting" // in the state topic
	metricAverage  = "orderflow_aggregate_average"
	metricReceived = "input_received"
	labelRetry     = "retry"
)

type families map[string]*dto.MetricFamily

// scrape reads a pipeline's metrics.
func scrape(ctx context.Context, address string) (families, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading metrics of %s: %s", address, res.Status)
	}
	return parseMetrics(res.Body)
}

func parseMetrics(r io.Reader) (families, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	found, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	return found, nil
}

// sum adds up a metric over all of its labels.
func (f families) sum(name string) (total float64) {
	for _, m := range f[name].GetMetric() {
		total += value(m)
	}
	return total
}

func (f families) gauges() gauges {
	g := gauges{waiting: int(max(f.sum(metricWaiting), f.sum(metricInState))), average: f.sum(metricAverage)}
	for _, m := range f[metricRetries].GetMetric() {
		for _, label := range m.GetLabel() {
			n, err := strconv.Atoi(label.GetValue())
			if label.GetName() != labelRetry || err != nil || n < 1 || n > 100 {
				continue
			}
			for len(g.retries) < n {
				g.retries = append(g.retries, 0)
			}
			g.retries[n-1] += int(value(m))
		}
	}
	return g
}

func value(m *dto.Metric) float64 {
	// Only one of them is there, and one that is not is zero.
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
}
