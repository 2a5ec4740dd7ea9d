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
