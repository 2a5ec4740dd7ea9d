package readme_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/orderflow/orderflow/internal/failure"
)

// recipes returns what the pages, and the component's own documentation, propose as retry_if.
func recipes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	search := func(where, text string) {
		var node any
		require.NoError(t, yaml.Unmarshal([]byte(text), &node), where)
		var walk func(any)
		walk = func(node any) {
			switch n := node.(type) {
			case map[string]any:
				if query, ok := n["retry_if"].(string); ok {
					found[where] = query
				}
				for _, child := range n {
					walk(child)
				}
			case []any:
				for _, child := range n {
					walk(child)
				}
			}
		}
		walk(node)
	}
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.lang == "yaml" {
				search(fmt.Sprintf("%s:%d", p.path, b.line), b.body)
			}
		}
	}
	view, _ := service.GlobalEnvironment().GetProcessorConfig("backoff_retry")
	text, err := view.FormatJSON()
	require.NoError(t, err)
	var spec struct {
		Examples []struct{ Title, Config string } `json:"examples"`
		Config   struct {
			Children []struct {
				Name     string `json:"name"`
				Examples []any  `json:"examples"`
			} `json:"children"`
		} `json:"config"`
	}
	require.NoError(t, json.Unmarshal(text, &spec))
	for _, example := range spec.Examples {
		search("the example "+example.Title, example.Config)
	}
	for _, f := range spec.Config.Children {
		if f.Name == "retry_if" {
			for i, example := range f.Examples {
				found[fmt.Sprintf("the field's example %d", i)] = example.(string)
			}
		}
	}
	return found
}

// listen answers each connection, and returns the URL.
func listen(t *testing.T, answer func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer(conn.(*net.TCPConn))
		}
	}()
	return "http://" + l.Addr().String()
}

// What may pass is tried again, and what is the order's own fault is not: with the errors that the
// host's http has of real servers, also within a branch.
func TestRecipesForRetriesKnowTheErrorsOfServers(t *testing.T) {
	stop := make(chan struct{})
	status := func(code int, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	hung := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("half"))
			w.(http.Flusher).Flush()
		}
		<-stop
	}))
	t.Cleanup(func() { close(stop); hung.Close() })
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, refused.Close())
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	t.Cleanup(secure.Close)

	type server struct {
		url       string
		permanent bool
		says      string // so that the server does what its name tells
		timeout   string // of the call; empty: none that matters
	}
	servers := map[string]server{
		"hangs":                {url: hung.URL, timeout: "300ms", says: "Client.Timeout exceeded while awaiting headers"},
		"hangs in its answer":  {url: hung.URL + "/body", timeout: "300ms", says: "Client.Timeout or context cancellation while reading body"},
		"refuses":              {url: "http://" + refused.Addr().String(), says: "connection refused"},
		"is not known":         {url: "http://nothing.invalid", says: "nothing.invalid"},
		"has another's papers": {url: secure.URL, says: "certificate"},
		"speaks no TLS":        {url: strings.Replace(hung.URL, "http:", "https:", 1), says: "server gave HTTP response to HTTPS client"},
		"resets": {says: "connection reset by peer", url: listen(t, func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
			_ = c.Close()
		})},
		"hangs up": {says: "EOF", url: listen(t, func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 64<<10))
			_ = c.Close()
		})},
		"quotes another's answer": {says: "(503)", url: status(503, "upstream: HTTP request returned unexpected response code (404): 404 Not Found")},
		"has a path like one":     {says: "(500)", url: status(500, "") + "/response%20code/(404)"},
	}
	for _, code := range []int{401, 403, 408, 425, 429, 500, 502, 503, 504} {
		servers[fmt.Sprint("answers ", code)] = server{url: status(code, "no"), says: fmt.Sprintf("(%d)", code)}
	}
	for _, code := range []int{400, 404, 410, 413, 422} {
		servers[fmt.Sprint("answers ", code)] = server{url: status(code, "no (really)"), permanent: true, says: fmt.Sprintf("(%d)", code)}
	}

	found := recipes(t)
	require.Len(t, found, 4, "%v", found)
	for where, query := range found {
		for name, s := range servers {
			if s.timeout == "" {
				s.timeout = "1m"
			}
			for _, form := range []string{"http: %s", "branch: {processors: [{http: %s}], result_map: root.answer = this}"} {
				call := fmt.Sprintf(form, fmt.Sprintf(`{url: %q, verb: POST, retries: 0, timeout: %s}`, s.url, s.timeout))
				t.Run(fmt.Sprintf("%s: a server that %s, %s", where, name, form[:4]), func(t *testing.T) {
					t.Parallel()
					conf, err := service.NewConfigSpec().Field(service.NewProcessorField("p")).ParseYAML(
						fmt.Sprintf("p:\n  backoff_retry:\n    delays: [1ms]\n    retry_if: %q\n    processors:\n      - {%s}\n", query, call), service.GlobalEnvironment())
					require.NoError(t, err)
					p, err := conf.FieldProcessor("p")
					require.NoError(t, err)
					t.Cleanup(func() { _ = p.Close(t.Context()) })
					out, err := p.Process(t.Context(), service.NewMessage([]byte(`{"orderId":"o-1"}`)))
					require.NoError(t, err)
					require.Len(t, out, 1)
					failed := out[0].GetError()
					require.ErrorContains(t, failed, s.says)
					history, ok := errors.AsType[*failure.History](failed)
					require.True(t, ok)
					class, _ := failure.Of(failed)
					if s.permanent {
						require.Equal(t, failure.Permanent, class, failed)
						require.Len(t, history.Attempts, 1, failed)
					} else {
						require.Equal(t, failure.Transient, class, failed)
						require.Len(t, history.Attempts, 2, failed)
					}
				})
			}
		}
	}
}
