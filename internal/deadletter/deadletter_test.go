package deadletter

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func headers(pairs ...[2]string) []Header {
	var h []Header
	for _, p := range pairs {
		h = append(h, Header{p[0], []byte(p[1])})
	}
	return h
}

func TestHeadersOfTheContractInOrder(t *testing.T) {
	l := Letter{
		ID: "orders/3/42", Class: "transient", Code: "simulated", Error: "Max retries exceeded: Simulated processing failure",
		Stage: "order_validate", Attempts: 2,
		AttemptTimes:  []time.Time{at("2026-11-22T10:00:00.0019+01:00"), at("2026-11-22T09:00:01Z")},
		FirstFailedAt: at("2026-11-22T09:00:00.001Z"), LastFailedAt: at("2026-11-22T09:00:01Z"),
		Topic: "orders", Partition: 3, Offset: 42, Timestamp: at("2026-11-22T08:59:59.5Z"), Group: "orderflow",
	}
	require.Equal(t, headers(
		[2]string{"dlq_id", "orders/3/42"},
		[2]string{"dlq_class", "transient"},
		[2]string{"dlq_code", "simulated"},
		[2]string{"dlq_error", "Max retries exceeded: Simulated processing failure"},
		[2]string{"dlq_stage", "order_validate"},
		[2]string{"dlq_attempts", "2"},
		[2]string{"dlq_attempt_times", "2026-11-22T09:00:00.001Z,2026-11-22T09:00:01.000Z"},
		[2]string{"dlq_first_failed_at", "2026-11-22T09:00:00.001Z"},
		[2]string{"dlq_last_failed_at", "2026-11-22T09:00:01.000Z"},
		[2]string{"dlq_topic", "orders"},
		[2]string{"dlq_partition", "3"},
		[2]string{"dlq_offset", "42"},
		[2]string{"dlq_timestamp", "2026-11-22T08:59:59.500Z"},
		[2]string{"dlq_group", "orderflow"},
		[2]string{"dlq_redrives", "0"},
	), l.Headers(Native))
	for i, h := range l.Headers(Native) {
		require.Equal(t, Names[i], h.Name)
	}
}

func TestWhatIsUnknownIsLeftOut(t *testing.T) {
	l := Letter{Partition: Unknown, Offset: Unknown}
	require.Equal(t, headers([2]string{"dlq_attempts", "0"}, [2]string{"dlq_redrives", "0"}), l.Headers(Native))
}

// A producer may give its record any timestamp; a reader of RFC 3339 takes four digits of a year.
func TestATimeThatCannotBeWrittenIsLeftOut(t *testing.T) {
	l := Letter{Partition: Unknown, Offset: Unknown, Timestamp: time.UnixMilli(math.MaxInt64), FirstFailedAt: time.UnixMilli(math.MinInt64)}
	require.Equal(t, headers([2]string{"dlq_attempts", "0"}, [2]string{"dlq_redrives", "0"}), l.Headers(Native))
	read, _ := Parse(headers([2]string{"dlq_timestamp", "9999-12-31T23:59:59-01:00"}, [2]string{"dlq_attempt_times", "0000-01-01T00:00:00+01:00"}))
	require.Equal(t, Letter{Partition: Unknown, Offset: Unknown}, read)
}

func TestIdentity(t *testing.T) {
	place := Letter{Topic: "orders", Partition: 1, Offset: 7}
	tests := []struct {
		name     string
		letter   Letter
		header   map[string]string
		id       string
		redrives int
	}{
		{"a first failure is named by its place", place, nil, "orders/1/7", 0},
		{"a redriven order keeps its id and count", place, map[string]string{"dlq_id": "orders/0/3", "dlq_redrives": "2"}, "orders/0/3", 2},
		{"an id alone is not believed", place, map[string]string{"dlq_id": "orders/0/3"}, "orders/1/7", 0},
		{"nor one with a count of zero", place, map[string]string{"dlq_id": "orders/0/3", "dlq_redrives": "0"}, "orders/1/7", 0},
		{"nor with a negative count", place, map[string]string{"dlq_id": "orders/0/3", "dlq_redrives": "-1"}, "orders/1/7", 0},
		{"nor with a count that is no number", place, map[string]string{"dlq_id": "orders/0/3", "dlq_redrives": "many"}, "orders/1/7", 0},
		{"nor with a count that no reader takes", place, map[string]string{"dlq_id": "orders/0/3", "dlq_redrives": "2147483648"}, "orders/1/7", 0},
		{"nor one that is not UTF-8", place, map[string]string{"dlq_id": "\xff", "dlq_redrives": "1"}, "orders/1/7", 0},
		{"a count alone changes nothing", place, map[string]string{"dlq_redrives": "2"}, "orders/1/7", 0},
		{"without a place there is no id", Letter{Topic: "orders", Partition: Unknown, Offset: 7}, nil, "", 0},
		{"a redriven order needs no place", Letter{Partition: Unknown, Offset: Unknown}, map[string]string{"dlq_id": "a", "dlq_redrives": "1"}, "a", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := test.letter
			l.Identify(func(name string) (string, bool) { v, ok := test.header[name]; return v, ok })
			require.Equal(t, test.id, l.ID)
			require.Equal(t, test.redrives, l.Redrives)
		})
	}
}

func TestParseIsTolerant(t *testing.T) {
	l, ok := Parse(nil)
	require.False(t, ok)
	require.Equal(t, Letter{Partition: Unknown, Offset: Unknown}, l)

	l, ok = Parse(headers(
		[2]string{"dlq_partition", "99999999999"}, [2]string{"dlq_offset", "-3"}, [2]string{"dlq_attempts", "x"},
		[2]string{"dlq_timestamp", "yesterday"}, [2]string{"dlq_attempt_times", ",nonsense,2026-11-22T09:00:00.000Z,"},
		[2]string{"dlq_error", "first"}, [2]string{"dlq_error", "last \xff"},
	))
	require.True(t, ok)
	require.Equal(t, Letter{
		Partition: Unknown, Offset: Unknown, Error: "last \uFFFD", AttemptTimes: []time.Time{at("2026-11-22T09:00:00Z")},
	}, l)
}

func TestLongTextsAreCutAtARune(t *testing.T) {
	for _, long := range []string{strings.Repeat("x", 100_000), strings.Repeat("é", 50_000), strings.Repeat("€\xf0", 40_000)} {
		l := Letter{Error: long}
		cut := string(l.Headers(Native)[0].Value)
		require.LessOrEqual(t, len(cut), MaxText)
		require.Greater(t, len(cut), MaxText-8)
		require.True(t, utf8.ValidString(cut))
		require.True(t, strings.HasSuffix(cut, Truncated))
	}
	l := Letter{Error: strings.Repeat("x", MaxText)}
	require.Equal(t, l.Error, string(l.Headers(Native)[0].Value), "a text that just fits is not cut")
}

func TestManyAttemptTimesKeepTheFirstAndTheLast(t *testing.T) {
	l := Letter{Attempts: 1000}
	for i := range 1000 {
		l.AttemptTimes = append(l.AttemptTimes, time.UnixMilli(int64(i)).UTC())
	}
	back, _ := Parse(l.Headers(Native))
	require.Equal(t, 1000, back.Attempts)
	require.Len(t, back.AttemptTimes, MaxTimes)
	require.Equal(t, l.AttemptTimes[0], back.AttemptTimes[0])
	require.Equal(t, l.AttemptTimes[999], back.AttemptTimes[MaxTimes-1])
}
