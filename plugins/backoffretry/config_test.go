package backoffretry

import (
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/summary"
	"github.com/orderflow/orderflow/test/calls"
)

func TestWrongConfigurationNamesTheFieldTheValueAndWhatIsAllowed(t *testing.T) {
	ok := "processors: [{mapping: root = this}]\n"
	tests := []struct{ name, yaml, want string }{
		{"no duration", ok + "delays: [1s, soon]", `field delays.1: "soon": want a duration such as 500ms or 2s`},
		{"negative", ok + "delays: [-1s]", `field delays.0: -1s: want a duration above 0`},
		{"zero", ok + "delays: [0s]", `field delays.0: 0s: want a duration above 0`},
		{"empty", ok + "delays: []", `field delays: []: want at least one delay`},
		{"both", ok + "delays: [5s]\nmax_retries: 2", `fields delays and max_retries: give either delays, or initial_interval, multiplier, max_interval, jitter, max_retries`},
		{"initial interval", ok + "initial_interval: never", `field initial_interval: "never": want a duration such as 500ms or 2s`},
		{"initial interval of zero", ok + "initial_interval: 0s", `field initial_interval: 0s: want a duration above 0`},
		{"multiplier", ok + "multiplier: 0.9", `field multiplier: 0.9: want a finite number of at least 1`},
		{"maximum", ok + "max_interval: 10ms", `field max_interval: 10ms: want a duration of at least initial_interval (1s)`},
		{"maximum of zero", ok + "max_interval: 0s", `field max_interval: 0s: want a duration of at least initial_interval (1s)`},
		{"jitter", ok + "jitter: 2", `field jitter: 2: want a number from 0 to 1`},
		{"retries", ok + "max_retries: 0", `field max_retries: 0: want a number from 1 to 1000`},
		{"no children", "processors: []", `field processors: []: want at least one processor`},
		{"a catch", "processors: [{mapping: root = this}, {catch: []}]", `field processors.1: catch: it would never run, since a message that failed skips the processors that follow; use try_catch around the processors that may fail`},
		{"broken query", ok + "retry_if: 'error('", `'retry_if'`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conf, err := spec().ParseYAML(test.yaml, service.GlobalEnvironment())
			if err == nil {
				_, err = fromParsed(conf, service.MockResources(), &summary.Report{})
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestExponentialFieldsHaveDefaults(t *testing.T) {
	conf, err := spec().ParseYAML("processors: [{mapping: root = this}]\nmax_retries: 4\nmax_interval: 5s", service.GlobalEnvironment())
	require.NoError(t, err)
	s, err := scheduleFromParsed(conf)
	require.NoError(t, err)
	var got []time.Duration
	for i := range s.Retries() {
		d, _ := s.Delay(i+1, nil)
		got = append(got, d)
	}
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second}, got)
}

func TestTheLinterRefusesBothWaysToGiveDelays(t *testing.T) {
	for yaml, clean := range map[string]bool{
		"backoff_retry: {delays: [1s, 2s], jitter: 0.1, processors: []}": false,
		"backoff_retry: {delays: [1s, 2s, 4s], processors: []}":          true,
		"backoff_retry: {jitter: 0.1, processors: []}":                   true,
		"backoff_retry: {processors: []}":                                true,
	} {
		lints, err := service.GlobalEnvironment().NewComponentConfigLinter().LintProcessorYAML([]byte(yaml))
		require.NoError(t, err)
		require.Equal(t, clean, len(lints) == 0, "%s: %v", yaml, lints)
	}
}

func TestWrongBreakerConfigurationNamesTheField(t *testing.T) {
	ok := "processors: [{mapping: root = this}]\n"
	for yaml, want := range map[string]string{
		"failure_ratio: 1.5":    "field breaker.failure_ratio: 1.5: want a number from 0 to 1",
		"failure_ratio: -0.1":   "field breaker.failure_ratio: -0.1: want a number from 0 to 1",
		"failure_ratio: .nan":   "field breaker.failure_ratio: NaN: want a number from 0 to 1",
		"window: soon":          `field breaker.window: "soon": want a duration above 0, such as 500ms or 2s`,
		"window: 0s":            `field breaker.window: "0s": want a duration above 0, such as 500ms or 2s`,
		"probe_interval: -1s":   `field breaker.probe_interval: "-1s": want a duration above 0, such as 500ms or 2s`,
		"min_orders: 0":         "field breaker.min_orders: 0: want a number of at least 1",
		"failure_ratio: mostly": "failure_ratio",
	} {
		conf, err := spec().ParseYAML(ok+"breaker: {"+yaml+"}", service.GlobalEnvironment())
		if err == nil {
			_, err = fromParsed(conf, service.MockResources(), &summary.Report{})
		}
		require.ErrorContains(t, err, want)
	}
}

func TestWithoutARatioThereIsNoBreaker(t *testing.T) {
	require.Nil(t, build(t, "processors: ["+calls.Child(t, emit)+"]").outage)
	require.NotNil(t, build(t, withBreaker+"processors: ["+calls.Child(t, emit)+"]").outage)
}
