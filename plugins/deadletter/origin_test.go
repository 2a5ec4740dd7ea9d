package deadletter

import (
	"errors"
	"math"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/test/carried"
)

func TestOriginalContent(t *testing.T) {
	p, _ := build(t, "")
	tests := []struct {
		name     string
		original any
		want     []byte
	}{
		{"bytes come back", []byte{0, 0xff}, []byte{0, 0xff}},
		{"also as an immutable value", service.ImmutableAny{V: []byte("x")}, []byte("x")},
		{"an empty value stays empty", []byte{}, []byte{}},
		{"a null value stays null", []byte(nil), nil},
		{"a header of that name is no original", "forged", []byte("content")},
		{"nor is a null header", nil, []byte("content")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := service.NewMessage([]byte("content"))
			if i, ok := test.original.(service.ImmutableAny); ok {
				m.MetaSetImmut("original_value", i)
			} else {
				m.MetaSetMut("original_value", test.original)
			}
			m.SetError(errors.New("bad"))
			b, err := process(t, p, m).AsBytes()
			require.NoError(t, err)
			require.Equal(t, test.want, b)
		})
	}
}

func TestAnOrderOfASessionGetsItsOwnContentBack(t *testing.T) {
	for name, content := range map[string][]byte{"its bytes": {0, 0xff}, "an empty value": {}, "a null value": nil} {
		p, _ := build(t, "")
		m, _ := new(carried.Session).Message(7, content)
		m.SetStructured(map[string]any{"changed": true})
		m.SetError(errors.New("bad"))
		b, err := process(t, p, m).AsBytes()
		require.NoError(t, err)
		require.Equal(t, content, b, name)
	}
}

// A record without a timestamp has -1, and any producer can write any other number.
func TestATimestampThatIsNoneIsLeftOut(t *testing.T) {
	for _, ms := range []int64{-1, math.MinInt64, math.MaxInt64, 253402300800000} {
		for _, d := range deadletter.Dialects {
			p, _ := build(t, "dialect: "+string(d))
			m := record(nil)
			m.MetaSetMut("kafka_timestamp_ms", ms)
			m.SetError(errors.New("bad"))
			h := headers(process(t, p, m))
			require.NotContains(t, h, "dlq_timestamp", "%s: %d", d, ms)
			require.NotContains(t, h, "kafka_dlt-original-timestamp", "%s: %d", d, ms)
			require.Equal(t, "orders/3/42", h["dlq_id"])
		}
	}
}

func TestForgedMetadataDoesNotCount(t *testing.T) {
	p, _ := build(t, "")

	m := record(nil)
	m.MetaSetMut("dead_letter", "true")
	m.MetaSetMut("dlq_class", "a header of the record")
	m = process(t, p, m)
	_, marked := m.MetaGetMut("dead_letter")
	require.False(t, marked, "a sound message is not marked by a header")
	class, _ := m.MetaGet("dlq_class")
	require.Equal(t, "a header of the record", class, "headers of a sound message are its own")

	m = record(nil)
	m.MetaSetMut("dead_letter", "true")
	m.MetaSetMut("dlq_id", "orders/0/0")
	m.MetaSetMut("dlq_stage", "old")
	m.MetaSetMut("dlq_group", "old")
	m.MetaSetMut("kafka_offset", "7")
	m.SetError(failure.NewPermanent("price", errors.New("price is 0")))
	h := headers(process(t, p, m))
	require.NotContains(t, h, "dlq_stage")
	require.NotContains(t, h, "dlq_group")
	require.NotContains(t, h, "dlq_offset", "a string is a header, not what the input set")
	require.NotContains(t, h, "dlq_id")
	require.Equal(t, "permanent", h["dlq_class"])
}

func TestARedrivenOrderKeepsItsIdentity(t *testing.T) {
	p, _ := build(t, "")
	m := record(nil)
	m.MetaSetMut("dlq_id", "orders/0/7")
	m.MetaSetMut("dlq_redrives", "2")
	m.SetError(errors.New("again"))
	h := headers(process(t, p, m))
	require.Equal(t, "orders/0/7", h["dlq_id"])
	require.Equal(t, "2", h["dlq_redrives"])
	require.Equal(t, "42", h["dlq_offset"])
}
