package children

import (
	"context"
	"errors"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
)

func chain(t *testing.T, yaml string) (*Chain, error) {
	t.Helper()
	conf, err := service.NewConfigSpec().Field(service.NewProcessorListField("processors")).
		ParseYAML("processors: "+yaml, service.GlobalEnvironment())
	require.NoError(t, err)
	return FromParsed(conf, "processors")
}

func TestRun(t *testing.T) {
	tests := []struct {
		name, yaml string
		want       []string
		err, stage string
	}{
		{"no children pass the message", `[]`, []string{"a"}, "", ""},
		{"one after the other", `[{mapping: 'root = content() + "b"'}, {mapping: 'root = content() + "c"'}]`, []string{"abc"}, "", ""},
		{"a dropped message is gone", `[{mapping: root = deleted()}, {mapping: root = throw("never")}]`, nil, "", ""},
		{"one becomes two", `[{mapping: 'root = [1,2]'}, {unarchive: {format: json_array}}, {mapping: 'root = this + 1'}]`, []string{"2", "3"}, "", ""},
		{"one of two fails", `[{mapping: 'root = [1,2]'}, {unarchive: {format: json_array}}, {mapping: 'root = if this == 2 { throw("two") } else { this }'}]`,
			nil, "failed assignment (line 1): two", "mapping"},
		{"what follows a failure is skipped", `[{label: first, mapping: root = throw("one")}, {mapping: root = throw("never")}]`, nil, "failed assignment (line 1): one", "first"},
		{"try_catch recovers", `[{try_catch: {processors: [{mapping: root = throw("one")}], catch: [{mapping: root = "saved"}]}}]`, []string{"saved"}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := chain(t, test.yaml)
			require.NoError(t, err)
			out, failed, err := c.Run(t.Context(), service.NewMessage([]byte("a")))
			require.NoError(t, err)
			if test.err != "" {
				require.EqualError(t, failed.Err, test.err)
				require.Equal(t, failed.Err, failed.Message.GetError())
				require.Equal(t, test.stage, failed.Stage)
				return
			}
			require.Nil(t, failed)
			var got []string
			for _, m := range out {
				b, _ := m.AsBytes()
				got = append(got, string(b))
			}
			require.Equal(t, test.want, got)
			require.NoError(t, c.Close(t.Context()))
		})
	}
}

func TestAnEndedContextIsNoFailure(t *testing.T) {
	c, err := chain(t, `[{mapping: root = throw("one")}]`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, failed, err := c.Run(ctx, service.NewMessage(nil))
	require.Nil(t, failed)
	require.Equal(t, context.Canceled, err)
}

func TestTheErrorItselfMayNameTheStage(t *testing.T) {
	err := &failure.History{Stage: "order_decode", Err: errors.New("bad")}
	require.Equal(t, "order_decode", Stage(service.NewMessage(nil), err))
	require.Empty(t, Stage(service.NewMessage(nil), errors.New("bad")))
}

func TestNamesOfComponents(t *testing.T) {
	for want, conf := range map[string]any{
		"mine":     map[string]any{"label": "mine", "mapping": "root = this"},
		"mapping":  map[string]any{"label": "", "mapping": "root = this"},
		"explicit": map[string]any{"type": "explicit", "explicit": map[string]any{}},
		"shared":   map[string]any{"resource": "shared"},
		"":         "no map",
	} {
		require.Equal(t, want, nameOf(conf))
	}
}

func TestACatchAmongTheChildrenIsRefused(t *testing.T) {
	_, err := chain(t, `[{mapping: root = this}, {catch: []}]`)
	require.ErrorContains(t, err, "field processors.1: catch: it would never run")
}
