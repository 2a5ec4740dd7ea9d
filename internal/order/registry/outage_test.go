package registry_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/failure"
)

func TestAnOutageIsWaitedOut(t *testing.T) {
	for name, fault := range map[string]func(*http.Request) (*http.Response, error){
		"no connection":     refused,
		"an internal error": status(500, `{"error_code":50001,"message":"store error"}`),
		"a gateway's error": status(502, "<html>bad gateway</html>"),
		"too many requests": status(429, ""),
		"a wrong password":  status(401, `{"error_code":401,"message":"Unauthorized"}`),
		"not allowed":       status(403, `{"error_code":40301}`),
		"a page not found":  status(404, "<html>not found</html>"),
		"a path not found":  status(404, `{"error_code":404,"message":"HTTP 404 Not Found"}`),
		"a page of a proxy": status(200, "<html>please log in</html>"),
		"a registry that hangs": func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, w, s := setUp(t)
				w.registry.SeedSchema("orders-value", 1, 1, sr.Schema{Schema: schemas.Order})
				w.fail(fault)
				begin := time.Now()
				time.AfterFunc(time.Minute, func() { w.fail(nil) })
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						if _, err := c.Decoder(t.Context(), 1); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				waited := time.Since(begin)
				require.GreaterOrEqual(t, waited, time.Minute)
				require.LessOrEqual(t, waited, 75*time.Second, "the longest pause is 10 s, the longest request 5 s")
				require.Equal(t, []string{"down", "back"}, s.all, "told once, whatever it took")
				require.LessOrEqual(t, w.requests.Load(), int64(15), "pauses grow, and one caller probes for all")
			})
		})
	}
}

func TestPausesDoubleUpToTheLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, _ := setUp(t)
		begin := time.Now()
		var at []time.Duration
		w.fail(func(req *http.Request) (*http.Response, error) {
			at = append(at, time.Since(begin))
			return refused(req)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		_, err := c.Decoder(ctx, 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 35*time.Second, time.Since(begin), "the wait ends at once")
		ms := time.Millisecond
		require.Equal(t, []time.Duration{0, 100 * ms, 300 * ms, 700 * ms, 1500 * ms, 3100 * ms, 6300 * ms, 12700 * ms, 22700 * ms, 32700 * ms}, at)
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, _ := setUp(t)
		w.fail(refused)
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error)
		for range 3 { // one probes, two wait for it
			go func() { _, err := c.Decoder(ctx, 1); errs <- err }()
		}
		time.Sleep(5 * time.Second)
		cancel()
		for range 3 {
			err := <-errs
			require.ErrorIs(t, err, context.Canceled)
			class, _ := failure.Of(err)
			require.NotEqual(t, failure.Permanent, class)
		}
		// Whoever comes next is served.
		w.fail(nil)
		w.registry.SeedSchema("orders-value", 1, 1, sr.Schema{Schema: schemas.Order})
		_, err := c.Decoder(t.Context(), 1)
		require.NoError(t, err)
	})
}
