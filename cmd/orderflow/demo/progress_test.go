package demo

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressLine(t *testing.T) {
	tests := map[string]struct {
		progress progress
		want     string
	}{
		"at the start": {
			progress{expected: 50},
			"  0.0s  in 0/50  processed 0  dead 0  average 0.00  retries 1s:0 2s:0 4s:0  waiting 0",
		},
		"in the middle": {
			progress{
				elapsed: 7512 * time.Millisecond, expected: 50,
				balance: Balance{In: 48, Processed: 38, DeadLettered: 2},
				gauges:  gauges{waiting: 5, average: 251.304, retries: []int{7, 4, 2}},
			},
			"  7.5s  in 48/50  processed 38  dead 2  average 251.30  retries 1s:7 2s:4 4s:2  waiting 5",
		},
		"more retries than the pipeline has by itself": {
			progress{expected: 1, gauges: gauges{retries: []int{1, 1, 1, 1}}},
			"  0.0s  in 0/1  processed 0  dead 0  average 0.00  retries 1s:1 2s:1 4s:1 #4:1  waiting 0",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, test.progress.line())
		})
	}
}

func at(seconds float64, processed int) progress {
	return progress{elapsed: time.Duration(seconds * float64(time.Second)), expected: 9, balance: Balance{In: 9, Processed: processed}}
}

func TestDrawerWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	d := &drawer{out: &out}
	d.draw(at(0, 0))
	d.draw(at(0.2, 1)) // too soon
	d.draw(at(1.1, 1))
	d.draw(at(2.5, 1)) // nothing new
	d.draw(at(4, 2))
	d.finish(at(4.2, 3)) // the last state is always shown
	d.leave()
	require.Equal(t, strings.Join([]string{at(0, 0).line(), at(1.1, 1).line(), at(4, 2).line(), at(4.2, 3).line(), ""}, "\n"), out.String())

	out.Reset()
	d.finish(at(9, 3))
	require.Empty(t, out.String(), "but not twice")
}

func TestDrawerOnATerminal(t *testing.T) {
	var out bytes.Buffer
	d := &drawer{out: &out, terminal: true}
	d.draw(at(0, 0))
	d.draw(at(0.2, 0))
	d.finish(at(1, 1))
	d.leave()
	require.Equal(t, anew+at(0, 0).line()+wrap+anew+at(0.2, 0).line()+wrap+anew+at(1, 1).line()+wrap+"\n", out.String())

	out.Reset()
	d.draw(at(2, 1))
	d.leave() // something failed
	d.leave()
	require.True(t, strings.HasSuffix(out.String(), at(2, 1).line()+wrap+"\n"))
}

func TestMetrics(t *testing.T) {
	const text = `# TYPE orderflow_backoff_retry_retries_total counter
orderflow_backoff_retry_retries_total{label="",path="root.pipeline.processors.1",retry="1"} 7
orderflow_backoff_retry_retries_total{label="",path="root.pipeline.processors.1",retry="3"} 2
orderflow_backoff_retry_retries_total{label="other",path="root.pipeline.processors.2",retry="1"} 1
orderflow_backoff_retry_retries_total{label="other",path="root.pipeline.processors.2",retry="x"} 1
# TYPE orderflow_backoff_retry_waiting gauge
orderflow_backoff_retry_waiting{label="",path="root.pipeline.processors.1",retry="1"} 3
orderflow_backoff_retry_waiting{label="",path="root.pipeline.processors.1",retry="2"} 1
orderflow_aggregate_average{label=""} 251.5
`
	found, err := parseMetrics(strings.NewReader(text))
	require.NoError(t, err)
	require.Equal(t, gauges{waiting: 4, average: 251.5, retries: []int{8, 0, 2}}, found.gauges())
	require.Zero(t, found.sum("not_there"))

	// With the transactional input the orders wait in the state topic.
	found, err = parseMetrics(strings.NewReader("orderflow_kafka_transactional_waiting 6\n"))
	require.NoError(t, err)
	require.Equal(t, gauges{waiting: 6}, found.gauges())

	_, err = parseMetrics(strings.NewReader("{ what"))
	require.ErrorContains(t, err, "reading metrics")
}
