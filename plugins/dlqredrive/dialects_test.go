package dlqredrive

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestALetterOfAnotherSystemIsChosenAndSentWithoutItsHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		headers []kgo.RecordHeader
		id      string
	}{
		"Spring": {[]kgo.RecordHeader{
			{Key: "kafka_dlt-original-topic", Value: []byte("orders")}, {Key: "kafka_dlt-original-partition", Value: []byte{0, 0, 0, 2}},
			{Key: "kafka_dlt-original-offset", Value: []byte{0, 0, 0, 0, 0, 0, 1, 0}}, {Key: "kafka_dlt-exception-message", Value: []byte("no price")},
			{Key: "kafka_dlt-of-a-later-version", Value: []byte("x")},
		}, "orders/2/256"},
		"Spring's retry topics": {[]kgo.RecordHeader{
			{Key: "kafka_original-topic", Value: []byte("orders")}, {Key: "kafka_original-partition", Value: []byte{0, 0, 0, 2}},
			{Key: "kafka_original-offset", Value: []byte{0, 0, 0, 0, 0, 0, 1, 0}}, {Key: "kafka_exception-message", Value: []byte("no price")},
			{Key: "retry_topic-attempts", Value: []byte{0, 0, 0, 5}}, {Key: "kafka_dlt-original-consumer-group", Value: []byte("shop")},
		}, "orders/2/256"},
		"a share group that copies records": {[]kgo.RecordHeader{
			{Key: "__dlq.errors.topic", Value: []byte("orders")}, {Key: "__dlq.errors.partition", Value: []byte("2")},
			{Key: "__dlq.errors.offset", Value: []byte("7")}, {Key: "__dlq.errors.message", Value: []byte("no price")},
		}, "orders/2/7"},
		"Kafka Connect": {[]kgo.RecordHeader{
			{Key: "__connect.errors.topic", Value: []byte("orders")}, {Key: "__connect.errors.partition", Value: []byte("2")},
			{Key: "__connect.errors.offset", Value: []byte("7")}, {Key: "__connect.errors.exception.message", Value: []byte("no price")},
		}, "orders/2/7"},
		"SmallRye, which did not say where it was": {[]kgo.RecordHeader{
			{Key: "dead-letter-topic", Value: []byte("orders")}, {Key: "dead-letter-reason", Value: []byte("no price")},
		}, "dlq/0/0"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				own := kgo.RecordHeader{Key: "trace", Value: []byte{0xff, 0}}
				require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "dlq", Key: []byte("k"), Value: []byte("v"), Headers: append(c.headers, own)}).FirstErr())
				require.EqualValues(t, 1, w.run("", `where: '@dlq_error == "no price" && @dlq_topic == "orders"'`, "").Sent)
				sent := w.records("orders")
				require.Len(t, sent, 1)
				require.Equal(t, []kgo.RecordHeader{own, {Key: "dlq_id", Value: []byte(c.id)}, {Key: "dlq_redrives", Value: []byte("1")}}, sent[0].Headers)
			})
		})
	}
}

// The letter of a share group says where the record is. Sent again, it would be a null record.
func TestALetterWithoutItsRecordIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "dlq", Headers: []kgo.RecordHeader{
			{Key: "__dlq.errors.topic", Value: []byte("orders")}, {Key: "__dlq.errors.partition", Value: []byte("2")}, {Key: "__dlq.errors.offset", Value: []byte("7")},
		}}).FirstErr())
		report := w.run("", "", "")
		require.Equal(t, map[string]int64{"record_missing": 1}, report.Refused, "%+v", report)
		require.EqualValues(t, 1, report.LeftOpen)
		require.Zero(t, report.Sent)
		require.Empty(t, w.records("orders"))
	})
}
