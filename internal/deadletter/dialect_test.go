package deadletter

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var sample = Letter{
	ID: "orders/0/7", Class: "transient", Code: "simulated_failure", Error: "Max retries exceeded: busy", Stage: "order_validate",
	Attempts: 2, AttemptTimes: []time.Time{at("2026-11-22T09:00:00Z"), at("2026-11-22T09:00:01Z")},
	FirstFailedAt: at("2026-11-22T09:00:00Z"), LastFailedAt: at("2026-11-22T09:00:01Z"),
	Topic: "orders", Partition: 3, Offset: 258, Timestamp: time.UnixMilli(1_700_000_000_123).UTC(), Group: "orderflow", Redrives: 1,
}

// What each dialect writes of the sample, before the native headers that complete it.
var spelled = map[Dialect][][2]string{
	Spring: {
		{"kafka_dlt-exception-fqcn", "orderflow.simulated_failure"},
		{"kafka_dlt-exception-cause-fqcn", "orderflow.simulated_failure"},
		{"kafka_dlt-exception-message", "Max retries exceeded: busy"},
		{"kafka_dlt-exception-stacktrace", "Max retries exceeded: busy"},
		{"kafka_dlt-original-topic", "orders"},
		{"kafka_dlt-original-partition", "\x00\x00\x00\x03"},
		{"kafka_dlt-original-offset", "\x00\x00\x00\x00\x00\x00\x01\x02"},
		{"kafka_dlt-original-timestamp", "\x00\x00\x01\x8b\xcf\xe5\x68\x7b"},
		{"kafka_dlt-original-timestamp-type", "CreateTime"},
		{"kafka_dlt-original-consumer-group", "orderflow"},
	},
	Connect: {
		{"__connect.errors.topic", "orders"},
		{"__connect.errors.partition", "3"},
		{"__connect.errors.offset", "258"},
		{"__connect.errors.connector.name", "orderflow"},
		{"__connect.errors.task.id", "0"},
		{"__connect.errors.stage", "order_validate"},
		{"__connect.errors.class.name", "orderflow.order_validate"},
		{"__connect.errors.exception.class.name", "orderflow.simulated_failure"},
		{"__connect.errors.exception.message", "Max retries exceeded: busy"},
		{"__connect.errors.exception.stacktrace", "Max retries exceeded: busy"},
	},
	Streams: {
		{"__streams.errors.exception", "orderflow.simulated_failure"},
		{"__streams.errors.message", "Max retries exceeded: busy"},
		{"__streams.errors.stacktrace", "Max retries exceeded: busy"},
		{"__streams.errors.topic", "orders"},
		{"__streams.errors.partition", "3"},
		{"__streams.errors.offset", "258"},
	},
	SmallRye: {
		{"dead-letter-reason", "Max retries exceeded: busy"},
		{"dead-letter-cause", "Max retries exceeded: busy"},
		{"dead-letter-exception-class-name", "orderflow.simulated_failure"},
		{"dead-letter-cause-class-name", "orderflow.simulated_failure"},
		{"dead-letter-topic", "orders"},
		{"dead-letter-partition", "3"},
		{"dead-letter-offset", "258"},
	},
}

func TestDialectsAreSpelledAsTheirReadersExpect(t *testing.T) {
	for d, want := range spelled {
		t.Run(string(d), func(t *testing.T) {
			got := sample.Headers(d)
			require.Equal(t, headers(want...), got[:len(want)])
			for _, name := range []string{
				HeaderID, HeaderClass, HeaderCode, HeaderStage, HeaderAttempts, HeaderAttemptTimes,
				HeaderFirstFailedAt, HeaderLastFailedAt, HeaderRedrives,
			} {
				require.True(t, slices.ContainsFunc(got[len(want):], func(h Header) bool { return h.Name == name }), "%s completes it", name)
			}
			for _, name := range []string{HeaderError, HeaderTopic, HeaderPartition, HeaderOffset} {
				require.False(t, slices.ContainsFunc(got, func(h Header) bool { return h.Name == name }), "%s says nothing new", name)
			}
			for _, h := range got {
				require.True(t, IsOurs(h.Name), h.Name)
			}
			back, ok := Parse(got)
			require.True(t, ok)
			require.Equal(t, sample, back)
		})
	}
}

func TestLettersOfOtherSystems(t *testing.T) {
	unknown := Letter{Partition: Unknown, Offset: Unknown}
	for _, test := range []struct {
		name    string
		headers [][2]string
		want    func(*Letter)
	}{
		{"the cause of Spring says what failed, not the listener's exception", [][2]string{
			{"kafka_dlt-exception-fqcn", "org.springframework.kafka.listener.ListenerExecutionFailedException"},
			{"kafka_dlt-exception-cause-fqcn", "java.lang.IllegalStateException"},
			{"kafka_dlt-exception-stacktrace", "java.lang.IllegalStateException: no stock\n\tat shop.Stock.take(Stock.java:12)"},
			{"kafka_dlt-original-topic", "orders"},
			{"kafka_dlt-original-partition", "\x00\x00\x00\x0b"},
			{"kafka_dlt-original-offset", "\x00\x00\x00\x01\x00\x00\x00\x00"},
			{"kafka_dlt-original-timestamp", "\x00\x00\x01\x8b\xcf\xe5\x68\x7b"},
			{"kafka_dlt-original-timestamp-type", "LogAppendTime"},
		}, func(l *Letter) {
			l.Code, l.Error = "java.lang.IllegalStateException", "java.lang.IllegalStateException: no stock"
			l.Topic, l.Partition, l.Offset, l.Timestamp = "orders", 11, 1<<32, sample.Timestamp
		}},
		{"numbers of Spring that make no sense are not known", [][2]string{
			{"kafka_dlt-original-topic", "orders"}, {"kafka_dlt-original-partition", "11"}, {"kafka_dlt-original-offset", "\xff\xff\xff\xff\xff\xff\xff\xff"},
			{"kafka_dlt-original-timestamp", "\x7f\xff\xff\xff\xff\xff\xff\xff"},
		}, func(l *Letter) { l.Topic = "orders" }},
		{"Spring's retry topics: four attempts, and where the first one was", [][2]string{
			{"kafka_exception-fqcn", "org.springframework.kafka.listener.ListenerExecutionFailedException"},
			{"kafka_exception-cause-fqcn", "java.lang.IllegalStateException"},
			{"kafka_exception-message", "no stock"},
			{"kafka_exception-stacktrace", "org.springframework.kafka.listener.ListenerExecutionFailedException\n\tat x"},
			{"kafka_original-topic", "orders"},
			{"kafka_original-partition", "\x00\x00\x00\x0b"},
			{"kafka_original-offset", "\x00\x00\x00\x01\x00\x00\x00\x00"},
			{"kafka_original-timestamp", "\x00\x00\x01\x8b\xcf\xe5\x68\x7b"},
			{"kafka_original-timestamp-type", "CreateTime"},
			{"kafka_dlt-original-consumer-group", "shop"},
			{"retry_topic-attempts", "\x00\x00\x00\x05"},
			{"retry_topic-original-timestamp", "\x01\x8b\xcf\xe5\x68\x7b"},
			{"retry_topic-backoff-timestamp", "\x01\x8b\xcf\xe5\x70\x00"},
		}, func(l *Letter) {
			l.Code, l.Error, l.Group, l.Attempts = "java.lang.IllegalStateException", "no stock", "shop", 4
			l.Topic, l.Partition, l.Offset, l.Timestamp = "orders", 11, 1<<32, sample.Timestamp
		}},
		{"those of an older Spring, with as few bytes as a number takes", [][2]string{
			{"kafka_original-topic", "orders"}, {"retry_topic-attempts", "\x02"}, {"retry_topic-original-timestamp", "\x01\x8b\xcf\xe5\x68\x7b"},
		}, func(l *Letter) { l.Topic, l.Attempts, l.Timestamp = "orders", 1, sample.Timestamp }},
		{"numbers of theirs that make no sense are not known", [][2]string{
			{"kafka_original-topic", "orders"}, {"kafka_original-partition", "7"}, {"kafka_original-offset", "\xff\xff\xff\xff\xff\xff\xff\xff"},
			{"kafka_original-timestamp", "\x7f\xff\xff\xff\xff\xff\xff\xff"}, {"retry_topic-attempts", "\xff\xff\xff\xff"}, {"retry_topic-original-timestamp", "\xff"},
		}, func(l *Letter) { l.Topic = "orders" }},
		{"a recoverer's letter of a record that was retried elsewhere", [][2]string{
			{"kafka_dlt-original-topic", "orders"}, {"kafka_dlt-original-consumer-group", "shop"}, {"retry_topic-attempts", "\x00\x00\x00\x05"},
		}, func(l *Letter) { l.Topic, l.Group = "orders", "shop" }},
		{"Kafka Connect", [][2]string{
			{"__connect.errors.topic", "orders"}, {"__connect.errors.partition", "2"}, {"__connect.errors.offset", "9"},
			{"__connect.errors.connector.name", "sink"}, {"__connect.errors.stage", "VALUE_CONVERTER"},
			{"__connect.errors.exception.class.name", "org.apache.kafka.connect.errors.DataException"},
			{"__connect.errors.exception.message", "no schema"},
		}, func(l *Letter) {
			l.Topic, l.Partition, l.Offset, l.Group, l.Stage = "orders", 2, 9, "sink", "VALUE_CONVERTER"
			l.Code, l.Error = "org.apache.kafka.connect.errors.DataException", "no schema"
		}},
		{"share groups", [][2]string{
			{"__dlq.errors.topic", "orders"}, {"__dlq.errors.partition", "2"}, {"__dlq.errors.offset", "9"}, {"__dlq.errors.group", "g"},
			{"__dlq.errors.delivery.count", "5"}, {"__dlq.errors.message", "rejected"},
		}, func(l *Letter) {
			l.Topic, l.Partition, l.Offset, l.Group, l.Attempts, l.Error = "orders", 2, 9, "g", 5, "rejected"
		}},
		{"a redriven order that failed elsewhere keeps its identity", [][2]string{
			{"dlq_id", "orders/0/7"}, {"dlq_redrives", "2"}, {"dead-letter-topic", "orders"}, {"dead-letter-reason", "no stock"},
		}, func(l *Letter) { l.ID, l.Redrives, l.Topic, l.Error = "orders/0/7", 2, "orders", "no stock" }},
		{"the native dialect wins, and nothing is mixed into it", [][2]string{
			{"kafka_dlt-original-topic", "elsewhere"}, {"kafka_dlt-original-consumer-group", "g"}, {"dlq_topic", "orders"}, {"dlq_code", "price_invalid"},
		}, func(l *Letter) { l.Topic, l.Code = "orders", "price_invalid" }},
		{"of two other dialects one counts", [][2]string{
			{"dead-letter-topic", "a"}, {"dead-letter-offset", "1"}, {"__connect.errors.topic", "b"}, {"__connect.errors.partition", "2"},
		}, func(l *Letter) { l.Topic, l.Partition = "b", 2 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := unknown
			test.want(&want)
			got, ok := Parse(headers(test.headers...))
			require.True(t, ok)
			require.Equal(t, want, got)
		})
	}
}

func TestWhichHeadersBelongToADeadLetter(t *testing.T) {
	for _, name := range append([]string{
		"kafka_dlt-key-exception-message", "__connect.errors.anything", "__streams.errors.x", "__dlq.errors.group", "dead-letter-reason",
		"kafka_original-timestamp-type", "kafka_exception-message", "kafka_key-exception-fqcn", "retry_topic-attempts", "retry_topic-backoff-timestamp",
	}, Names...) {
		require.True(t, IsOurs(name), name)
	}
	for _, name := range []string{"", "trace", "dlq_note", "kafka_topic", "kafka_dlt", "dead-letter-office", "retry_topic", "kafka_original", "dead_letter"} {
		require.False(t, IsOurs(name), name)
	}
}

func TestDialectsAreKnownByName(t *testing.T) {
	for _, d := range Dialects {
		got, err := ParseDialect(string(d))
		require.NoError(t, err)
		require.Equal(t, d, got)
	}
	_, err := ParseDialect("klingon")
	require.EqualError(t, err, `dialect "klingon": want one of [native spring connect streams smallrye]`)
	_, err = ParseDialect("share")
	require.Error(t, err, "it is only read")
}

func TestAllTextsTogetherAreBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	l := Letter{ID: long, Class: long, Code: long, Error: long, Stage: long, Topic: long, Group: long}
	for _, d := range Dialects {
		total := 0
		for _, h := range l.Headers(d) {
			require.NotEmpty(t, h.Value, h.Name)
			total += len(h.Value)
		}
		require.LessOrEqual(t, total, MaxTexts+100, "%s: but for a few numbers", d)
	}
}

func letters() *rapid.Generator[Letter] {
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, maxMillis).Draw(t, "ms")).UTC()
	})
	word := rapid.StringMatching(`[a-z_é]{1,20}`)
	return rapid.Custom(func(t *rapid.T) Letter {
		l := Letter{
			ID: rapid.StringN(0, 50, MaxText).Draw(t, "id"), Class: rapid.String().Draw(t, "class"), Code: word.Draw(t, "code"),
			Error: rapid.StringN(1, 1000, MaxText).Draw(t, "error"), Stage: rapid.String().Draw(t, "stage"),
			Attempts:      rapid.IntRange(0, 1000).Draw(t, "attempts"),
			FirstFailedAt: moment.Draw(t, "first"), LastFailedAt: moment.Draw(t, "last"), Timestamp: moment.Draw(t, "timestamp"),
			Topic: word.Draw(t, "topic"), Group: rapid.String().Draw(t, "group"),
			Partition: rapid.IntRange(Unknown, math.MaxInt32).Draw(t, "partition"),
			Offset:    rapid.Int64Min(Unknown).Draw(t, "offset"),
			Redrives:  rapid.IntRange(0, 100).Draw(t, "redrives"),
		}
		if times := rapid.SliceOfN(moment, 0, MaxTimes).Draw(t, "times"); len(times) > 0 {
			l.AttemptTimes = times
		}
		return l
	})
}

func TestLettersOfShareGroupsAreKnown(t *testing.T) {
	of := func(names ...string) bool {
		return SaysWhereOnly(func(name string) ([]byte, bool) { return nil, slices.Contains(names, name) })
	}
	require.True(t, of("__dlq.errors.topic", "__dlq.errors.offset"))
	require.False(t, of("dead-letter-topic", "__dlq.errors.topic"))
	require.False(t, of("dlq_topic", "__dlq.errors.topic"))
	require.False(t, of())
}

// A producer can write any timestamp, and -1 is what a record without one has. What is not a time
// after 1970 with a year of four digits is left out, in each dialect and whatever wrote it.
func TestTimesThatCannotBeWrittenAreLeftOut(t *testing.T) {
	require.Equal(t, at("1970-01-01T00:00:00Z"), Millis(0))
	require.Equal(t, at("9999-12-31T23:59:59.999Z"), Millis(maxMillis))
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{-1, 0, maxMillis, maxMillis + 1, math.MaxInt64, math.MinInt64, -62135596800000, -62135596800001})).Draw(t, "ms")
		known := ms >= 0 && ms <= maxMillis
		require.Equal(t, known, !Millis(ms).IsZero())
		any := time.UnixMilli(ms)
		l := Letter{Topic: "orders", Timestamp: any, AttemptTimes: []time.Time{any, any}, FirstFailedAt: any, LastFailedAt: any}
		for _, d := range Dialects {
			headers := l.Headers(d)
			for _, h := range headers {
				switch h.Name {
				case "kafka_dlt-original-timestamp":
					require.True(t, known, "%s: %x", d, h.Value)
				case HeaderTimestamp, HeaderFirstFailedAt, HeaderLastFailedAt:
					require.Regexp(t, `^\d{4}-`, string(h.Value))
					require.True(t, known || h.Name != HeaderTimestamp, "%s: %s", d, h.Value)
				}
			}
			back, _ := Parse(headers)
			want := time.Time{}
			if known {
				want = any.UTC()
			}
			require.Equal(t, want, back.Timestamp, d)
		}
		for _, raw := range []Header{{"kafka_dlt-original-timestamp", []byte(putBigEndian(ms, 8))}, {"kafka_original-timestamp", []byte(putBigEndian(ms, 8))}} {
			back, _ := Parse([]Header{raw})
			require.Equal(t, Millis(ms), back.Timestamp)
		}
	})
	old, _ := Parse(headers([2]string{"dlq_timestamp", "1969-12-31T23:59:59.999Z"}))
	require.True(t, old.Timestamp.IsZero(), "as it was once written of a record without a timestamp")
}

func TestNothingIsLostInAnyDialect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := letters().Draw(t, "letter")
		d := rapid.SampledFrom(Dialects).Draw(t, "dialect")
		back, ok := Parse(l.Headers(d))
		require.True(t, ok)
		require.Equal(t, l, back)
	})
}
