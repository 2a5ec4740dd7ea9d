package dlq

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/order"
)

// A schema that the registry does not answer for costs the letters that have it, and no other; a
// registry that is away costs those that need one.
func TestLettersAreShownWhateverTheRegistryAnswers(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	fake.SeedSchema("orders-value", 1, 1, sr.Schema{Schema: schemas.Order})
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		requests.Add(1)
		if req.URL.Path == "/schemas/ids/7" {
			http.Error(w, "store error", http.StatusInternalServerError)
			return
		}
		fake.Handler().ServeHTTP(w, req)
	}))
	defer server.Close()

	w := newWorld(t)
	var records []*kgo.Record
	for i, value := range [][]byte{
		avro(t, "plain", 1), framed(t, 1, "framed"), framed(t, 7, "poison"), framed(t, 7, "poison too"), framed(t, 8, "unknown"),
	} {
		records = append(records, dead(value, failed("transient", "busy", "busy", int64(i)), deadletter.Native))
	}
	w.produce("orders-dlq", records...)

	list := w.run("list", "--all", "--registry", server.URL)
	require.NoError(t, list.err)
	require.Equal(t, "2 dead letters are listed without their orders, which cannot be decoded now; the first: decoding order: 24 bytes: the schema registry does not answer for schema id 7: 500 Internal Server Error: \"store error\"\n", list.stderr)
	require.Contains(t, list.stdout, "5 open dead letters")
	for _, id := range []string{"  plain  ", "  framed  "} {
		require.Contains(t, list.stdout, id)
	}
	require.LessOrEqual(t, requests.Load(), int64(4), "each schema is asked for once, and one question tells whether the registry is well")

	shown := w.run("show", "orders/0/2", "--registry", server.URL)
	require.NoError(t, shown.err)
	require.Contains(t, shown.stdout, "  cannot be decoded  decoding order: 24 bytes: the schema registry does not answer for schema id 7: 500 Internal Server Error")

	server.Close()
	away := w.run("list", "--all", "--registry", server.URL)
	require.NoError(t, away.err)
	require.Contains(t, away.stdout, "5 open dead letters")
	require.Contains(t, away.stdout, "  plain  ")
	require.Equal(t, 1, strings.Count(away.stderr, "\n"), away.stderr)
	require.Contains(t, away.stderr, "4 dead letters are listed without their orders, which cannot be decoded now; the first: decoding order: 24 bytes: the schema registry cannot be reached: ")
}

func framed(t testing.TB, id uint32, name string) []byte {
	return append(order.AppendFrame(nil, id), avro(t, name, 1)...)
}
