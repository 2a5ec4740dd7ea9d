package fields

import (
	"errors"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, yaml string) *Reader {
	t.Helper()
	conf, err := service.NewConfigSpec().
		Field(service.NewStringField("text").Default("a")).
		Field(service.NewStringListField("list").Default([]any{})).
		Field(service.NewBoolField("bool").Default(true)).
		Field(service.NewDurationField("wait").Default("1s")).
		Field(service.NewIntField("number").Default(1)).ParseYAML(yaml, nil)
	require.NoError(t, err)
	return Of(conf)
}

func TestFieldsAreRead(t *testing.T) {
	r := parse(t, "{text: a, list: [b, c], bool: true, wait: 2s, number: 3}")
	require.Equal(t, "a", r.Text("text"))
	require.Equal(t, []string{"b", "c"}, r.List("list"))
	require.True(t, r.Bool("bool"))
	require.Equal(t, 2*time.Second, r.Duration("wait", 2*time.Second, 2*time.Second), "the bounds are allowed")
	require.Equal(t, 3, r.Number("number", 3, 3))
	require.Equal(t, 3, r.AtLeast("number", 3))
	require.Equal(t, 2*time.Second, r.Interval("wait"))
	r.Fail("text", nil)
	require.NoError(t, r.Err())
	require.Empty(t, parse(t, "text: ''").Optional("text"))
}

func TestTheFirstErrorIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		yaml string
		read func(*Reader)
		want string
	}{
		"an empty text":         {"text: ''", func(r *Reader) { r.Text("text") }, "field text: is empty"},
		"a short wait":          {"wait: 1s", func(r *Reader) { r.Duration("wait", 2*time.Second, time.Minute) }, "field wait: 1s is out of range: from 2s to 1m0s"},
		"a long wait":           {"wait: 2m", func(r *Reader) { r.Duration("wait", 2*time.Second, time.Minute) }, "field wait: 2m0s is out of range: from 2s to 1m0s"},
		"no wait at all":        {"wait: soon", func(r *Reader) { r.Duration("wait", 0, time.Minute) }, "field wait: "},
		"a small number":        {"number: 0", func(r *Reader) { r.Number("number", 1, 9) }, "field number: 0 is out of range: from 1 to 9"},
		"a large number":        {"number: 10", func(r *Reader) { r.Number("number", 1, 9) }, "field number: 10 is out of range: from 1 to 9"},
		"a negative count":      {"number: -1", func(r *Reader) { r.AtLeast("number", 0) }, "field number: -1: want a number of at least 0"},
		"a negative interval":   {"wait: -1s", func(r *Reader) { r.Interval("wait") }, `field wait: "-1s": want a duration such as 10s, or 0s for none`},
		"an interval of a word": {"wait: soon", func(r *Reader) { r.Interval("wait") }, `field wait: "soon": want a duration such as 10s, or 0s for none`},
		"what else is wrong":    {"{}", func(r *Reader) { r.Fail("list", errors.New("is odd")) }, "field list: is odd"},
	} {
		t.Run(name, func(t *testing.T) {
			r := parse(t, test.yaml)
			test.read(r)
			r.Fail("number", errors.New("comes too late"))
			require.ErrorContains(t, r.Err(), test.want)
			require.NotContains(t, r.Err().Error(), "too late")
		})
	}
}
