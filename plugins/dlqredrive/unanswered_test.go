package dlqredrive

import (
	"context"
	"errors"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/test/calls"
)

// Whether a letter is what was meant cannot be told while it cannot be decoded: it stays open.
func TestALetterThatCannotBeDecodedNowStaysOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(4)
		decode := "decode: [" + calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
			switch key, _ := m.MetaGet("kafka_key"); key {
			case "k1":
				return nil, failure.NewUnavailable("registry_unavailable", errors.New("no answer for schema id 7"))
			case "k2":
				return nil, failure.NewPermanent("decode_failed", errors.New("no Avro"))
			}
			return service.MessageBatch{m}, nil
		}) + "]\n        where: '@dlq_code == \"price_not_positive\"'"
		got := w.run("", decode, "")
		require.EqualValues(t, 3, got.Sent, "one that is no order is sent as it was, as ever")
		require.EqualValues(t, 1, got.LeftOpen)
		require.Equal(t, map[string]int64{"registry_unavailable": 1}, got.Refused)
		require.EqualValues(t, 2, got.Undecoded.Letters)
		require.Len(t, w.records("orders"), 3)

		again := w.run("", "", "")
		require.EqualValues(t, 1, again.Sent, "it is sent once it can be decoded")
	})
}
