package registry

import (
	"fmt"
	"io"
	"net/http"
)

// maxAnswer bounds an answer of the registry, without its compression. A schema may have a MiB of
// text, which JSON escapes.
const maxAnswer = 8 << 20

// bounded makes a client that reads no more of an answer than maxAnswer, and follows redirects to
// the registry's own host only: whoever answers must not choose whom this process asks.
func bounded(client *http.Client) *http.Client {
	c := *client
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			resp.Body = &limited{ReadCloser: resp.Body, left: maxAnswer}
		}
		return resp, err
	})
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		from := via[0].URL
		switch {
		case req.URL.Host != from.Host || req.URL.Scheme != from.Scheme:
			return fmt.Errorf("it redirects to %s://%s, and only its own address is asked", req.URL.Scheme, req.URL.Host)
		case len(via) >= 10:
			return fmt.Errorf("it redirects for ever")
		}
		return nil
	}
	return &c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// limited is a body that ends with an error where it is too long.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return n - 1, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return n, err
}
