package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
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

type answerer = func(*http.Request) (*http.Response, error)

func hangs(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func breaksOff(*http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("reading: %w", io.ErrUnexpectedEOF)
}

// told is what a client has told of itself.
type told struct {
	states
	silences   []string
	why        error // of the last silence
	unanswered int
}

func (s *told) silence(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why = err; err == nil {
		what += " again"
	}
	s.silences = append(s.silences, what)
}

// listening is a client that remembers refusals as briefly as by default, and what it tells.
func listening(t *testing.T) (*registry.Client, *wire, *told) {
	t.Helper()
	w := &wire{registry: srfake.New()}
	w.registry.Close()
	reader, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	s := &told{}
	c, err := registry.New(reader, registry.Options{
		URLs: []string{"http://registry"}, HTTP: &http.Client{Transport: w, Timeout: 5 * time.Second},
		MaxPause: 10 * time.Second, RememberRefusal: 500 * time.Millisecond,
		OnState: s.add, OnSilence: s.silence, OnUnanswered: func() { s.unanswered++ },
	})
	require.NoError(t, err)
	w.registry.SeedSchema("good", 1, 1, sr.Schema{Schema: schemas.Order})
	return c, w, s
}

// poison lets the registry answer so for one path, and as ever for all others.
func (w *wire) poison(path string, with answerer) {
	w.fail(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == path {
			return with(req)
		}
		return w.pass(req)
	})
}

// What a registry answers for one schema is judged by what it answers otherwise.
func TestAnAnswerForOneSchemaIsToldFromAnOutage(t *testing.T) {
	const refused, unknown, silent, final = "refused", "unknown", "silent", "final"
	code := map[string]string{refused: registry.CodeRefused, unknown: registry.CodeUnknownID, silent: registry.CodeUnavailable, final: registry.CodeRefused}
	for name, c := range map[string]struct {
		answer answerer
		want   string
		text   string // of the error
		clean  bool   // an answer of a registry, whatever else it answers
	}{
		"404 with 40403":          {status(404, `{"error_code":40403,"message":"Schema 7 not found"}`), unknown, "schema id 7 is not known to the registry: Schema 7 not found", true},
		"404 with 404":            {status(404, `{"error_code":404,"message":"HTTP 404 Not Found"}`), unknown, "schema id 7 is not known to the registry: 404 Not Found: HTTP 404 Not Found", false},
		"404 without a code":      {status(404, `{"message":"no"}`), unknown, `schema id 7 is not known to the registry: 404 Not Found: "{\"message\":\"no\"}"`, false},
		"404 with a page":         {status(404, "<html>\x1b[2J"), unknown, `schema id 7 is not known to the registry: 404 Not Found: "<html>\x1b[2J"`, false},
		"404 with nothing":        {status(404, ""), unknown, "schema id 7 is not known to the registry: 404 Not Found", false},
		"410":                     {status(410, ""), unknown, "schema id 7 is not known to the registry: 410 Gone", false},
		"401":                     {status(401, `{"error_code":401,"message":"Unauthorized"}`), refused, "schema id 7 is refused by the registry: 401 Unauthorized: Unauthorized", false},
		"403":                     {status(403, `{"error_code":40301,"message":"User is denied operation Read"}`), refused, "schema id 7 is refused by the registry: User is denied operation Read", false},
		"451":                     {status(451, ""), refused, "schema id 7 is refused by the registry: 451 Unavailable For Legal Reasons", false},
		"422 with 42202":          {status(422, `{"error_code":42202,"message":"Invalid"}`), final, "schema id 7: Invalid", true},
		"409 with 409":            {status(409, `{"error_code":409,"message":"Conflict"}`), final, "schema id 7: 409 Conflict: Conflict", true},
		"400 with a page":         {status(400, "<html>plain HTTP on a TLS port"), refused, `schema id 7 is refused by the registry: 400 Bad Request: "<html>plain HTTP on a TLS port"`, false},
		"500":                     {status(500, `{"error_code":50001,"message":"store error"}`), silent, "the schema registry does not answer for schema id 7: 500 Internal Server Error: store error", false},
		"502 with a page":         {status(502, "<html>"), silent, `the schema registry does not answer for schema id 7: 502 Bad Gateway: "<html>"`, false},
		"429":                     {status(429, ""), silent, "the schema registry does not answer for schema id 7: 429 Too Many Requests", false},
		"408":                     {status(408, ""), silent, "the schema registry does not answer for schema id 7: 408 Request Timeout", false},
		"301 to nowhere":          {status(304, ""), silent, "the schema registry does not answer for schema id 7: 304 Not Modified", false},
		"200 with garbage":        {status(200, `{"schema": "{`), silent, "the schema registry does not answer for schema id 7: ", false},
		"200 with other JSON":     {status(200, `"schema"`), silent, "the schema registry does not answer for schema id 7: ", false},
		"200 with another object": {status(200, `{"message":"please log in"}`), silent, "the schema registry does not answer for schema id 7: the registry answered without a schema", false},
		"200 with a login page":   {status(200, "<html>please log in"), silent, "the schema registry does not answer for schema id 7: ", false},
		"a hang":                  {hangs, silent, "the schema registry does not answer for schema id 7: ", false},
		"an end too early":        {breaksOff, silent, "the schema registry does not answer for schema id 7: ", false},
		"a very long page":        {status(404, strings.Repeat("x", 1<<20)), unknown, `xxx"… (1048576 bytes)`, false},
	} {
		t.Run(name, func(t *testing.T) {
			for control, bring := range map[string]func(t *testing.T, c *registry.Client){
				"by its list of subjects": func(*testing.T, *registry.Client) {},
				"by a schema that it gave before": func(t *testing.T, c *registry.Client) {
					_, err := c.Decoder(t.Context(), 1)
					require.NoError(t, err)
				},
			} {
				t.Run("well, "+control, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						client, w, s := listening(t)
						bring(t, client)
						w.poison("/schemas/ids/7", c.answer)
						_, err := client.Decoder(t.Context(), 7)
						class := failure.Transient
						if c.want == final {
							class = failure.Permanent
						}
						requireFailure(t, err, class, code[c.want])
						require.Equal(t, c.want == silent, failure.Unavailable(err))
						require.ErrorContains(t, err, c.text)
						require.Less(t, len(err.Error()), 300)
						require.Empty(t, s.all, "the registry is there")
						if c.want == silent {
							require.Equal(t, []string{"schema id 7"}, s.silences)
							require.EqualError(t, err, "the schema registry does not answer for schema id 7: "+s.why.Error())
						} else {
							require.Empty(t, s.silences)
						}
						_, err = client.Decoder(t.Context(), 1)
						require.NoError(t, err, "others are served")
					})
				})
				t.Run("not well, "+control, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						client, w, s := listening(t)
						bring(t, client)
						w.fail(c.answer)
						_, err := client.With(registry.ForAnswer).Decoder(t.Context(), 7)
						if c.clean {
							require.False(t, failure.Unavailable(err))
							require.Empty(t, s.all)
							return
						}
						requireFailure(t, err, failure.Transient, registry.CodeUnavailable)
						require.True(t, failure.Unavailable(err))
						require.ErrorContains(t, err, "the schema registry cannot be reached: ")
						require.Equal(t, []string{"down"}, s.all)
						require.Empty(t, s.silences)
					})
				})
			}
		})
	}
}

// One that does not answer for a schema is asked again, after pauses that grow, and the answer
// takes effect at once.
func TestASilenceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, s := listening(t)
		var at []time.Duration
		begin := time.Now()
		w.poison("/schemas/ids/7", func(req *http.Request) (*http.Response, error) {
			at = append(at, time.Since(begin))
			return status(500, "")(req)
		})
		for time.Since(begin) < 30*time.Second {
			_, err := c.Decoder(t.Context(), 7)
			require.True(t, failure.Unavailable(err))
			time.Sleep(50 * time.Millisecond)
		}
		ms := time.Millisecond
		require.Equal(t, []time.Duration{0, 100 * ms, 300 * ms, 700 * ms, 1500 * ms, 3100 * ms, 6300 * ms, 12700 * ms, 22700 * ms}, at)
		w.registry.SeedSchema("late", 1, 7, sr.Schema{Schema: schemas.Order})
		w.fail(nil)
		time.Sleep(10 * time.Second)
		_, err := c.Decoder(t.Context(), 7)
		require.NoError(t, err)
		require.Equal(t, []string{"schema id 7", "schema id 7 again"}, s.silences, "told once, however often it was asked")
		require.Equal(t, 9, s.unanswered)
		require.Empty(t, s.all)
	})
}

func TestALateSchemaIsFoundAtTheFirstRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, _ := listening(t)
		for range 100 {
			_, err := c.Decoder(t.Context(), 7)
			requirePassing(t, err, registry.CodeUnknownID)
		}
		require.EqualValues(t, 1, w.requests.Load())
		w.registry.SeedSchema("late", 1, 7, sr.Schema{Schema: schemas.Order})
		time.Sleep(time.Second)
		_, err := c.Decoder(t.Context(), 7)
		require.NoError(t, err)
	})
}

// Many schemas that a registry does not answer for take a caller no longer than one.
func TestACallerInABatchWaitsBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, s := listening(t)
		w.registry.SeedSchema("also good", 1, 2, sr.Schema{Schema: schemas.Order})
		w.fail(func(req *http.Request) (*http.Response, error) {
			if strings.HasPrefix(req.URL.Path, "/schemas/ids/1") && req.URL.Path != "/schemas/ids/1" {
				return hangs(req)
			}
			return w.pass(req)
		})
		brief := c.With(registry.Briefly)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for id := range uint32(1000) {
			_, err := brief.Decoder(ctx, 10_000+id)
			require.True(t, failure.Unavailable(err))
		}
		require.Equal(t, time.Second, time.Since(begin))
		require.LessOrEqual(t, w.requests.Load(), int64(16), "so many are asked at a time")
		// The questions that hang leave no room for others until they have failed; then there is.
		_, err := brief.Decoder(t.Context(), 2)
		require.ErrorContains(t, err, "the schema registry is slow: 16 other questions wait for an answer")
		time.Sleep(5 * time.Second)
		_, err = brief.Decoder(t.Context(), 2)
		require.NoError(t, err)
		require.Empty(t, s.all, "it was there all the time")
		require.LessOrEqual(t, len(s.silences), 10, "a bounded number of lines")

		// Who comes to a question that is old already waits no longer than the others.
		_, err = brief.Decoder(t.Context(), 19_000)
		require.True(t, failure.Unavailable(err))
		begin = time.Now()
		_, err = brief.Decoder(t.Context(), 19_000)
		require.ErrorContains(t, err, "the schema registry is slow: no answer on schema id 19000 yet")
		require.Zero(t, time.Since(begin))
		time.Sleep(time.Minute) // until the last question has failed
	})
}

func TestInAnOutageOneProbesAndTheOthersAreAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, s := listening(t)
		w.fail(hangs)
		brief := c.With(registry.Briefly)
		begin := time.Now()
		var waited time.Duration
		for time.Since(begin) < time.Minute {
			asked, known := time.Now(), s.seen()
			for id := range uint32(100) {
				_, err := brief.Decoder(t.Context(), 100+id)
				require.True(t, failure.Unavailable(err))
			}
			if known {
				waited = max(waited, time.Since(asked))
			}
			time.Sleep(100 * time.Millisecond)
		}
		require.LessOrEqual(t, waited, time.Second)
		require.Equal(t, []string{"down"}, s.all)
		time.Sleep(time.Minute) // until the last question has failed
	})
}

func (s *told) seen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all) > 0
}

// A registry that is back is noticed, although what is asked for first is never answered.
func TestAnOutageEndsAlthoughOneSchemaStaysSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, s := listening(t)
		w.fail(status(503, ""))
		time.AfterFunc(20*time.Second, func() { w.poison("/schemas/ids/7", status(500, "")) })
		_, err := c.Decoder(t.Context(), 7)
		require.True(t, failure.Unavailable(err))
		require.ErrorContains(t, err, "does not answer for schema id 7")
		require.Equal(t, []string{"down", "back"}, s.all)
		require.Equal(t, []string{"schema id 7"}, s.silences)
	})
}

// So is one that answers nothing but what orders need.
func TestAnOutageEndsWhereTheListOfSubjectsIsForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, s := listening(t)
		w.fail(refused)
		time.AfterFunc(20*time.Second, func() { w.poison("/subjects", status(403, "")) })
		_, err := c.Decoder(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, []string{"down", "back"}, s.all)
	})
}

func TestAReferenceThatNothingNeedsIsNotMissed(t *testing.T) {
	address := sr.Schema{Schema: `{"type":"record","name":"Address","fields":[{"name":"city","type":"string"}]}`}
	refs := []sr.SchemaReference{
		{Name: "gone", Subject: "gone", Version: 1}, {Name: "proto", Subject: "proto", Version: 1}, {Name: "Address", Subject: "address", Version: 1},
	}
	setUp := func(t *testing.T, answer answerer) (*registry.Client, *wire, *told) {
		c, w, s := listening(t)
		w.registry.SeedSchema("gone", 1, 90, sr.Schema{Schema: `{"type":"enum","name":"Country","symbols":["DE"]}`})
		w.registry.SeedSchema("proto", 1, 91, sr.Schema{Schema: `"string"`}) // answered otherwise below
		w.registry.SeedSchema("address", 1, 92, address)
		w.registry.SeedSchema("needs none", 1, 4, sr.Schema{Schema: fmt.Sprintf(orderOf, ""), References: refs})
		w.registry.SeedSchema("needs one", 1, 5, sr.Schema{Schema: fmt.Sprintf(orderOf, `{"name":"to","type":"Address"},`), References: refs})
		w.registry.SeedSchema("needs another", 1, 6, sr.Schema{Schema: fmt.Sprintf(orderOf, `{"name":"to","type":"Country"},`), References: refs})
		w.fail(func(req *http.Request) (*http.Response, error) {
			switch req.URL.Path {
			case "/subjects/gone/versions/1":
				return answer(req)
			case "/subjects/proto/versions/1":
				return status(200, `{"subject":"proto","version":1,"id":91,"schemaType":"PROTOBUF","schema":"syntax = \"proto3\";"}`)(req)
			}
			return w.pass(req)
		})
		return c, w, s
	}
	for what, test := range map[string]struct {
		answer answerer
		code   string
		text   string
	}{
		"not found":   {status(404, `{"error_code":40401,"message":"subject not found"}`), registry.CodeUnknownID, "schema id 6: reference gone version 1 is not known to the registry: subject not found"},
		"a page":      {status(404, ""), registry.CodeUnknownID, "schema id 6: reference gone version 1 is not known to the registry: 404 Not Found"},
		"not allowed": {status(403, ""), registry.CodeRefused, "schema id 6: reference gone version 1 is refused by the registry: 403 Forbidden"},
		"an error":    {status(500, ""), registry.CodeUnavailable, "the schema registry does not answer for schema id 6: reference gone version 1: 500 Internal Server Error"},
	} {
		t.Run(what, func(t *testing.T) {
			c, _, s := setUp(t, test.answer)
			dec, err := c.Decoder(t.Context(), 4)
			require.NoError(t, err)
			_, err = dec.Decode([]byte("\x02A\x02B\x00\x00\x00\x00\x00\x00\xf8\x3f"))
			require.NoError(t, err)
			dec, err = c.Decoder(t.Context(), 5)
			require.NoError(t, err)
			_, err = dec.Decode([]byte("\x02X\x02A\x02B\x00\x00\x00\x00\x00\x00\xf8\x3f"))
			require.NoError(t, err)
			_, err = c.Decoder(t.Context(), 6)
			requireFailure(t, err, failure.Transient, test.code)
			require.EqualError(t, err, test.text)
			require.Empty(t, s.all)
		})
	}
	t.Run("one that is needed and no Avro", func(t *testing.T) {
		c, w, _ := setUp(t, status(500, ""))
		w.registry.SeedSchema("needs that one", 1, 8, sr.Schema{Schema: fmt.Sprintf(orderOf, `{"name":"to","type":"Proto"},`), References: refs[1:2]})
		_, err := c.Decoder(t.Context(), 8)
		requireCode(t, err, registry.CodeIncompatible)
		require.ErrorContains(t, err, "schema id 8: reference proto version 1: parsing schema: ")
	})
}

// Whom it asks on behalf of has no say in what others get: the answer comes to all of them.
func TestAQuestionGoesOnWithoutItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, _ := listening(t)
		w.poison("/schemas/ids/1", func(req *http.Request) (*http.Response, error) {
			time.Sleep(3 * time.Second)
			return w.pass(req)
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.With(registry.Briefly).Decoder(t.Context(), 1)
			require.ErrorContains(t, err, "the schema registry is slow: no answer on schema id 1 yet")
		})
		wg.Go(func() {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second/2, func() { cancel(errors.New("over")) })
			_, err := c.Decoder(ctx, 1)
			require.ErrorIs(t, err, context.Canceled)
		})
		wg.Go(func() {
			_, err := c.Decoder(t.Context(), 1)
			require.NoError(t, err)
		})
		wg.Wait()
		require.EqualValues(t, 1, w.requests.Load())
	})
}

// Registering goes on until there is an answer: all that is encoded needs the one schema.
func TestRegisteringWaitsForAnAnswerOnItsSubject(t *testing.T) {
	for name, fault := range map[string]answerer{"an error": status(500, ""), "not allowed": status(403, "")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, w, s := listening(t)
				w.poison("/subjects/orders-value/versions", fault)
				time.AfterFunc(20*time.Second, func() { w.fail(nil) })
				schema, err := order.ParseSchema(schemas.Order)
				require.NoError(t, err)
				_, err = c.ID(t.Context(), "orders-value", schema, true)
				require.NoError(t, err)
				require.Empty(t, s.all)
				require.Equal(t, []string{"subject orders-value", "subject orders-value again"}, s.silences)
			})
		})
	}
	t.Run("not there, in other words", func(t *testing.T) {
		c, w, _ := listening(t)
		w.poison("/subjects/orders-value", status(404, `{"error_code":404,"message":"HTTP 404 Not Found"}`))
		schema, err := order.ParseSchema(schemas.Order)
		require.NoError(t, err)
		_, err = c.ID(t.Context(), "orders-value", schema, false)
		requireCode(t, err, registry.CodeNotRegistered)
	})
}
