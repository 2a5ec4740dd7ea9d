package orderdecode_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/failure"
	_ "github.com/orderflow/orderflow/plugins/orderdecode"
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A whole stream of the host against a fake registry that is away at first.
func TestAStreamWaitsForItsRegistry(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	fake.SeedSchema("orders-value", 1, 7, sr.Schema{Schema: schemas.Order})
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if requests.Add(1) <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fake.Handler().ServeHTTP(w, req)
	}))
	defer server.Close()

	log := &lockedBuffer{}
	b := service.NewStreamBuilder()
	b.SetLogger(slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, b.SetYAML(`
http: { enabled: false }
pipeline:
  processors:
    - label: decode
      order_decode: { registry: { url: "`+server.URL+`" } }
`))
	send, err := b.AddProducerFunc()
	require.NoError(t, err)
	type outcome struct {
		content string
		err     error
	}
	got := make(chan outcome, 2)
	require.NoError(t, b.AddConsumerFunc(func(_ context.Context, msg *service.Message) error {
		content, err := msg.AsBytes()
		got <- outcome{string(content), msg.GetError()}
		return err
	}))
	stream, err := b.Build()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- stream.Run(ctx) }()

	require.NoError(t, send(ctx, service.NewMessage([]byte("\x00\x00\x00\x00\x07\x06A-1\x06Pen\x00\x00\x00\x00\x00\x00\xf8\x3f"))))
	first := <-got
	require.NoError(t, first.err)
	require.JSONEq(t, `{"orderId":"A-1","product":"Pen","price":1.5}`, first.content)
	require.EqualValues(t, 3, requests.Load())

	require.NoError(t, send(ctx, service.NewMessage([]byte("\x00\x00\x00\x00\x08\x06A-1\x06Pen"))))
	second := <-got
	class, code := failure.Of(second.err)
	require.Equal(t, failure.Transient, class, "the class is found through what the host wraps around it")
	require.Equal(t, "unknown_schema_id", code)

	require.NoError(t, stream.Stop(ctx))
	require.NoError(t, <-done)
	require.Equal(t, 1, strings.Count(log.String(), "cannot be reached, messages wait"), log.String())
	require.Equal(t, 1, strings.Count(log.String(), "is back"), log.String())
}

// One schema that the registry does not answer for: without a session its messages fail at once, so
// that what is around this processor decides, and the others go on.
func TestAStreamGoesOnWhereItsRegistryDoesNotAnswerForOneSchema(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	fake.SeedSchema("orders-value", 1, 7, sr.Schema{Schema: schemas.Order})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/schemas/ids/9" {
			http.Error(w, "", http.StatusInternalServerError)
			return
		}
		fake.Handler().ServeHTTP(w, req)
	}))
	defer server.Close()
	log := &lockedBuffer{}
	b := service.NewStreamBuilder()
	b.SetLogger(slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, b.SetYAML(`
http: { enabled: false }
pipeline:
  processors:
    - order_decode: { registry: { url: "`+server.URL+`" } }
`))
	send, err := b.AddBatchProducerFunc()
	require.NoError(t, err)
	got := make(chan service.MessageBatch, 1)
	require.NoError(t, b.AddBatchConsumerFunc(func(_ context.Context, batch service.MessageBatch) error {
		got <- batch
		return nil
	}))
	stream, err := b.Build()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- stream.Run(ctx) }()
	const record = "\x06A-1\x06Pen\x00\x00\x00\x00\x00\x00\xf8\x3f"
	var batch service.MessageBatch
	for _, id := range []string{"\x09", "\x07", "\x09"} {
		batch = append(batch, service.NewMessage([]byte("\x00\x00\x00\x00"+id+record)))
	}
	require.NoError(t, send(ctx, batch))
	for i, msg := range <-got {
		if i == 1 {
			require.NoError(t, msg.GetError())
			continue
		}
		require.True(t, failure.Unavailable(msg.GetError()), "%v", msg.GetError())
	}
	require.NoError(t, stream.Stop(ctx))
	require.NoError(t, <-done)
	require.Equal(t, 1, strings.Count(log.String(), "does not answer for schema id 9: its orders wait, others go on: 500 Internal Server Error"), log.String())
	require.NotContains(t, log.String(), "cannot be reached")
}
