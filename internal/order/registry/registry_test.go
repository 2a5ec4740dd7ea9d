package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/registry"
)

// wire carries requests to the fake registry without a network, so that they can live in a bubble
// of virtual time. It can be made to fail in any way.
type wire struct {
	registry *srfake.Registry
	requests atomic.Int64

	mu    sync.Mutex
	fault func(*http.Request) (*http.Response, error)
}

func (w *wire) fail(with func(*http.Request) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = with
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.requests.Add(1)
	w.mu.Lock()
	fault := w.fault
	w.mu.Unlock()
	if fault != nil {
		return fault(req)
	}
	return w.pass(req)
}

func (w *wire) pass(req *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	w.registry.Handler().ServeHTTP(rec, req)
	return rec.Result(), nil
}

func status(code int, body string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		rec.WriteHeader(code)
		_, _ = rec.WriteString(body)
		return rec.Result(), nil
	}
}

func refused(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

type states struct {
	mu  sync.Mutex
	all []string
}

func (s *states) add(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.all = append(s.all, "back")
	} else {
		s.all = append(s.all, "down")
	}
}

func setUp(t *testing.T) (*registry.Client, *wire, *states) {
	t.Helper()
	w := &wire{registry: srfake.New()}
	w.registry.Close() // its HTTP server is not needed, its handler goes on working
	reader, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	s := &states{}
	c, err := registry.New(reader, registry.Options{
		URLs: []string{"http://registry"}, HTTP: &http.Client{Transport: w, Timeout: 5 * time.Second},
		MaxPause: 10 * time.Second, RememberRefusal: 10 * time.Second, OnState: s.add,
	})
	require.NoError(t, err)
	return c, w, s
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	requireFailure(t, err, failure.Permanent, code)
}

// requirePassing is for what may pass, and is for the order to be told all the same.
func requirePassing(t *testing.T, err error, code string) {
	t.Helper()
	requireFailure(t, err, failure.Transient, code)
	require.False(t, failure.Unavailable(err))
}

func requireFailure(t *testing.T, err error, class failure.Class, code string) {
	t.Helper()
	gotClass, got := failure.Of(err)
	require.Equal(t, class, gotClass, "%v", err)
	require.Equal(t, code, got)
}

const orderOf = `{"type":"record","name":"Order","fields":[%s{"name":"orderId","type":"string"},{"name":"product","type":"string"},{"name":"price","type":"double"}]}`

func TestAKnownSchemaIsAskedForOnce(t *testing.T) {
	c, w, _ := setUp(t)
	w.registry.SeedSchema("orders-value", 1, 7, sr.Schema{Schema: fmt.Sprintf(orderOf, `{"name":"note","type":"string"},`)})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			dec, err := c.Decoder(t.Context(), 7)
			if err == nil {
				_, err = dec.Decode([]byte("\x02n\x02A\x02B\x00\x00\x00\x00\x00\x00\xf8\x3f"))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, w.requests.Load())
}

// A GUID is asked for as an id is, by the endpoint for GUIDs, and remembered as one.
func TestASchemaIsFoundByItsGUID(t *testing.T) {
	c, w, states := setUp(t)
	client, err := sr.NewClient(sr.URLs("http://registry"), sr.HTTPClient(&http.Client{Transport: w}))
	require.NoError(t, err)
	w.registry.SeedSchema("country", 1, 1, sr.Schema{Schema: `{"type":"enum","name":"Country","symbols":["DE","FR"]}`})
	w.registry.SeedSchema("orders-value", 1, 7, sr.Schema{
		Schema: fmt.Sprintf(orderOf, `{"name":"to","type":"Country"},`), References: []sr.SchemaReference{{Name: "Country", Subject: "country", Version: 1}},
	})
	s, err := client.SchemaByVersion(t.Context(), "orders-value", 1)
	require.NoError(t, err)
	require.Len(t, s.GUID, 36)
	before := w.requests.Load()
	for range 3 {
		dec, err := c.DecoderByGUID(t.Context(), s.GUID)
		require.NoError(t, err)
		o, err := dec.Decode([]byte("\x02\x02A\x02B\x00\x00\x00\x00\x00\x00\xf8\x3f"))
		require.NoError(t, err)
		require.Equal(t, order.Order{ID: "A", Product: "B", Price: 1.5}, o)
	}
	require.EqualValues(t, 2, w.requests.Load()-before, "the schema, and its reference")
	for range 3 {
		_, err = c.DecoderByGUID(t.Context(), "00112233-4455-6677-8899-aabbccddeeff")
		requirePassing(t, err, registry.CodeUnknownID)
		require.ErrorContains(t, err, "schema GUID 00112233-4455-6677-8899-aabbccddeeff is not known to the registry: ")
	}
	require.EqualValues(t, 3, w.requests.Load()-before)

	// A registry without GUIDs knows no such path; it must not count as one that is away.
	w.fail(func(req *http.Request) (*http.Response, error) {
		if strings.HasPrefix(req.URL.Path, "/schemas/guids/") {
			return status(404, `{"error_code":404,"message":"HTTP 404 Not Found"}`)(req)
		}
		return w.pass(req)
	})
	_, err = c.DecoderByGUID(t.Context(), "00112233-4455-6677-8899-aabbccddee00")
	requirePassing(t, err, registry.CodeUnknownID)
	require.Empty(t, states.all)
}

func TestReferencesAreFetched(t *testing.T) {
	c, w, _ := setUp(t)
	w.registry.SeedSchema("country", 1, 1, sr.Schema{Schema: `{"type":"enum","name":"Country","symbols":["DE","FR"]}`})
	w.registry.SeedSchema("address", 1, 2, sr.Schema{
		Schema:     `{"type":"record","name":"Address","fields":[{"name":"country","type":"Country"}]}`,
		References: []sr.SchemaReference{{Name: "Country", Subject: "country", Version: 1}},
	})
	w.registry.SeedSchema("orders-value", 1, 3, sr.Schema{
		Schema: fmt.Sprintf(orderOf, `{"name":"to","type":"Address"},{"name":"from","type":"Country"},`),
		References: []sr.SchemaReference{
			{Name: "Country", Subject: "country", Version: 1}, {Name: "Address", Subject: "address", Version: 1},
		},
	})
	dec, err := c.Decoder(t.Context(), 3)
	require.NoError(t, err)
	o, err := dec.Decode([]byte("\x02\x00\x02A\x02B\x00\x00\x00\x00\x00\x00\xf8\x3f"))
	require.NoError(t, err)
	require.Equal(t, order.Order{ID: "A", Product: "B", Price: 1.5}, o)
	require.EqualValues(t, 3, w.requests.Load())
}

func TestSchemasThatCannotBeUsed(t *testing.T) {
	c, w, s := setUp(t)
	w.registry.SeedSchema("a", 1, 1, sr.Schema{Schema: `{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"}]}`})
	w.registry.SeedSchema("b", 1, 2, sr.Schema{Schema: `syntax = "proto3";`, Type: sr.TypeProtobuf})
	w.registry.SeedSchema("c", 1, 3, sr.Schema{Schema: `{"type":"what"}`})
	for id, text := range map[uint32]string{
		1: "schema id 1: resolving schemas: reader field ", 2: "schema id 2: is of type PROTOBUF, must be AVRO",
		3: "schema id 3: parsing schema: ",
	} {
		_, err := c.Decoder(t.Context(), id)
		requireCode(t, err, registry.CodeIncompatible)
		require.ErrorContains(t, err, text)
	}
	require.Empty(t, s.all, "these are answers, no outage")
}

func TestAnUnknownIDIsRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, _ := setUp(t)
		for range 10_000 {
			_, err := c.Decoder(t.Context(), 99)
			requirePassing(t, err, registry.CodeUnknownID)
			require.EqualError(t, err, "schema id 99 is not known to the registry: schema not found")
		}
		require.EqualValues(t, 1, w.requests.Load())

		time.Sleep(11 * time.Second)
		w.registry.SeedSchema("orders-value", 1, 99, sr.Schema{Schema: schemas.Order})
		_, err := c.Decoder(t.Context(), 99)
		require.NoError(t, err, "the schema was registered meanwhile")
	})
}

func TestMadeUpIDsTakeBoundedMemory(t *testing.T) {
	c, w, _ := setUp(t)
	w.fail(status(404, `{"error_code":40403,"message":"no"}`))
	for id := range uint32(10_001) {
		_, err := c.Decoder(t.Context(), id)
		requirePassing(t, err, registry.CodeUnknownID)
	}
	_, err := c.Decoder(t.Context(), 10_000)
	requirePassing(t, err, registry.CodeUnknownID)
	require.EqualValues(t, 10_001, w.requests.Load())
	_, err = c.Decoder(t.Context(), 0)
	requirePassing(t, err, registry.CodeUnknownID)
	require.EqualValues(t, 10_002, w.requests.Load(), "the first ones were forgotten")
}

func TestRequestsAreSignedAndCounted(t *testing.T) {
	w := &wire{registry: srfake.New(srfake.WithAuth("Bearer secret"))}
	w.registry.Close()
	w.registry.SeedSchema("orders-value", 1, 1, sr.Schema{Schema: schemas.Order})
	reader, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	requests := 0
	c, err := registry.New(reader, registry.Options{
		URLs: []string{"http://registry"}, HTTP: &http.Client{Transport: w},
		MaxPause: time.Second, RememberRefusal: time.Second,
		Sign:      func(req *http.Request) error { req.Header.Set("Authorization", "Bearer secret"); return nil },
		OnRequest: func() { requests++ },
	})
	require.NoError(t, err)
	_, err = c.Decoder(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, 1, requests)
}
