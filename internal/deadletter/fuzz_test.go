package deadletter

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/bounded"
)

// Any producer can write headers with our names. What is read of them is written again, in each
// dialect, so that every reader can read it; and in the native one it reads the same.
func FuzzParse(f *testing.F) {
	f.Add("dlq_attempts", []byte("3"), "dlq_attempt_times", []byte("2026-11-22T09:00:00.000Z,"))
	f.Add("dlq_error", []byte("\xff\xfe"), "dlq_timestamp", []byte("9999-12-31T23:59:59.999Z"))
	f.Add("dlq_partition", []byte("-1"), "dlq_offset", []byte("18446744073709551616"))
	f.Add("dlq_redrives", []byte("2147483648"), "dlq_first_failed_at", []byte("0000-01-01T00:00:00+01:00"))
	f.Add("kafka_dlt-original-partition", []byte("\x80\x00\x00\x00"), "kafka_dlt-original-timestamp", []byte("12345678"))
	f.Add("retry_topic-attempts", []byte("\x02"), "kafka_original-timestamp", []byte("\x7f\xff\xff\xff\xff\xff\xff\xff"))
	f.Add("retry_topic-original-timestamp", []byte("\x80"), "kafka_exception-message", []byte("\xff"))
	f.Add("__connect.errors.topic", []byte("\xff"), "__connect.errors.exception.stacktrace", []byte("\n\n"))
	f.Fuzz(func(t *testing.T, name1 string, value1 []byte, name2 string, value2 []byte) {
		var l Letter
		bounded.Memory(t, len(value1)+len(value2), func() { l, _ = Parse([]Header{{name1, value1}, {name2, value2}}) })
		for _, d := range Dialects {
			for _, h := range l.Headers(d) {
				require.LessOrEqual(t, len(h.Value), MaxText, h.Name)
				if !strings.HasPrefix(h.Name, "kafka_dlt-original-") {
					require.True(t, utf8.Valid(h.Value), h.Name)
				}
				switch h.Name {
				case HeaderFirstFailedAt, HeaderLastFailedAt, HeaderTimestamp:
					_, err := time.Parse(time.RFC3339, string(h.Value))
					require.NoError(t, err, h.Name)
				}
			}
		}
		again, _ := Parse(l.Headers(Native))
		require.Equal(t, l.Headers(Native), again.Headers(Native))
	})
}

// An identity is the record's place or, with a count, what the record says; and what is written
// of it is believed when it comes back.
func FuzzIdentify(f *testing.F) {
	f.Add("orders/0/3", "2", "orders", 1, int64(7))
	f.Add("orders/0/3", "0", "", -1, int64(-1))
	f.Add("\xff", "2147483648", "orders", 0, int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, id, count, topic string, partition int, offset int64) {
		l := Letter{Topic: topic, Partition: partition, Offset: offset}
		header := func(headers map[string]string) func(string) (string, bool) {
			return func(name string) (string, bool) { v, ok := headers[name]; return v, ok }
		}
		l.Identify(header(map[string]string{HeaderID: id, HeaderRedrives: count}))
		if l.Redrives == 0 {
			want := ""
			if topic != "" && partition >= 0 && offset >= 0 {
				want = topic + "/" + strconv.Itoa(partition) + "/" + strconv.FormatInt(offset, 10)
			}
			require.Equal(t, want, l.ID)
			return
		}
		require.Positive(t, l.Redrives)
		require.Equal(t, id, l.ID)
		again := map[string]string{}
		for _, h := range l.Headers(Native) {
			again[h.Name] = string(h.Value)
		}
		read, _ := Parse(l.Headers(Native))
		require.Equal(t, [2]any{l.ID, l.Redrives}, [2]any{read.ID, read.Redrives})
		other := Letter{Topic: "elsewhere"}
		other.Identify(header(again))
		require.Equal(t, [2]any{l.ID, l.Redrives}, [2]any{other.ID, other.Redrives})
	})
}
