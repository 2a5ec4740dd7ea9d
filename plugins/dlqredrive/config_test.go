package dlqredrive

import (
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

func TestWrongConfigNamesItsField(t *testing.T) {
	for name, c := range map[string]struct{ spec, yaml, want string }{
		"no broker":           {"input", "seed_brokers: ['']\ntopic: dlq", "field seed_brokers: is empty"},
		"no topic":            {"input", "seed_brokers: [a]\ntopic: ''", "field topic: is empty"},
		"an empty batch":      {"input", "seed_brokers: [a]\ntopic: dlq\nbatch_size: 0", "field batch_size: 0 is out of range: from 1 to 4000"},
		"a long interval":     {"input", "seed_brokers: [a]\ntopic: dlq\ncommit_interval: 2m", "field commit_interval: 2m0s is out of range: from 10ms to 1m0s"},
		"a short transaction": {"input", "seed_brokers: [a]\ntopic: dlq\ntransaction_timeout: 1ms", "field transaction_timeout: 1ms is out of range: from 1s to 15m0s"},
		"a broken filter":     {"processor", "where: this.price <", "where"},
		"a broken mapping":    {"processor", "map: root =", "field map: "},
		"a negative rate":     {"processor", "rate: -1", "field rate: -1: want a number of at least 0"},
		"a negative limit":    {"processor", "limit: -1", "field limit: -1: want a number of at least 0"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, parse := inputSpec(), func(pc *service.ParsedConfig) error {
				_, err := parseConfig(pc, nil)
				return err
			}
			if c.spec == "processor" {
				spec, parse = processorSpec(), func(pc *service.ParsedConfig) error {
					_, err := newProcessor(pc, service.MockResources())
					return err
				}
			}
			pc, err := spec.ParseYAML(c.yaml, nil)
			if err == nil {
				err = parse(pc)
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// What is configured must not send orders to where something else is kept.
func TestNoTopicOfSomethingElseIsATarget(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"none":                          {"targets: [ ' ' ]", `field targets: is empty: name the topics that orders are read from, or a target`},
		"the state topic":               {"targets: [ orders, 's' ]\nstate_topic: s", `field targets: "s" is the state topic: want topics that orders are read from`},
		"the state topic by default":    {"targets: [ orders-state ]", `field targets: "orders-state" is the state topic: want topics that orders are read from`},
		"the dead-letter topic":         {"targets: [ 'orders,dlq' ]", `field targets: "dlq" is the dead-letter topic: want topics that orders are read from`},
		"the redrive topic":             {"targets: [ dlq-redrives ]", `field targets: "dlq-redrives" is the redrive topic: want topics that orders are read from`},
		"the parking topic":             {"targets: [ dlq-parking ]", `field targets: "dlq-parking" is the parking topic: want topics that orders are read from`},
		"another parking topic":         {"targets: [ p ]\nparking_topic: p", `field targets: "p" is the parking topic: want topics that orders are read from`},
		"as the one target":             {"target: dlq-redrives\nallow_other_target: true", `field target: "dlq-redrives" is the redrive topic: want a topic that orders are read from`},
		"parking in the state topic":    {"parking_topic: orders-state", `field parking_topic: "orders-state" is the state topic`},
		"parking among the letters":     {"parking_topic: dlq", `field parking_topic: "dlq" is the dead-letter topic`},
		"a target without targets":      {"targets: []\ntarget: orders", ""},
		"targets without a state topic": {"targets: [ orders ]\nstate_topic: ''", ""},
	} {
		t.Run(name, func(t *testing.T) {
			res := service.MockResources()
			pc, err := inputSpec().ParseYAML("seed_brokers: [a]\ntopic: dlq", nil)
			require.NoError(t, err)
			in, err := newInput(pc, res, nil, nil)
			require.NoError(t, err)
			defer in.Close(t.Context())
			pc, err = outputSpec().ParseYAML(c.yaml, nil)
			require.NoError(t, err)
			_, _, _, err = newOutput(pc, res)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.want)
			}
		})
	}
}

func TestPartsThatStandAloneSayWhatTheyNeed(t *testing.T) {
	pc, err := outputSpec().ParseYAML("{}", nil)
	require.NoError(t, err)
	_, _, _, err = newOutput(pc, service.MockResources())
	require.ErrorContains(t, err, "output dlq_redrive needs an input dlq_redrive in the same stream")

	pc, err = inputSpec().ParseYAML("seed_brokers: [a]\ntopic: dlq", nil)
	require.NoError(t, err)
	in, err := newInput(pc, service.MockResources(), nil, nil)
	require.NoError(t, err)
	require.ErrorContains(t, in.Connect(t.Context()), "needs a processor and an output dlq_redrive in the same stream")
}
