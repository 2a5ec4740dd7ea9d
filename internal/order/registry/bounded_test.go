package registry

import (
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnAnswerIsBoundedAndARedirectStaysAtHome(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("somebody else was asked")
	}))
	defer elsewhere.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/fits", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, maxAnswer)) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, maxAnswer+1)) })
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(make([]byte, 10*maxAnswer))
		z.Close()
	})
	mux.HandleFunc("/home", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/fits", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) })
	mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/circle", http.StatusFound) })
	server := httptest.NewServer(mux)
	defer server.Close()

	for path, says := range map[string]string{
		"/fits": "", "/home": "",
		"/large":  "the answer is larger than 8388608 bytes",
		"/bomb":   "the answer is larger than 8388608 bytes",
		"/away":   "it redirects to " + elsewhere.URL + ", and only its own address is asked",
		"/circle": "it redirects for ever",
	} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			resp, err := bounded(&http.Client{}).Get(server.URL + path)
			n := 0
			if err == nil {
				defer resp.Body.Close()
				buffer := make([]byte, 64<<10)
				for err == nil {
					var read int
					read, err = resp.Body.Read(buffer)
					n += read
				}
				if err.Error() == "EOF" {
					err = nil
				}
			}
			if says == "" {
				require.NoError(t, err)
				require.Equal(t, maxAnswer, n)
				return
			}
			require.ErrorContains(t, err, says)
			require.LessOrEqual(t, n, maxAnswer)
		})
	}
}
