package secured

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// Registry is a running schema registry, reached by TLS and by the one user.
type Registry struct {
	URL string
	Certificate

	refused atomic.Int64
}

// StartRegistry starts a registry.
func StartRegistry(t testing.TB) *Registry {
	t.Helper()
	r := &Registry{Certificate: Certify(t)}
	fake := srfake.New()
	fake.Close() // its HTTP server is not needed, its handler goes on working
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := req.BasicAuth(); user != User || password != Password {
			r.refused.Add(1)
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		fake.Handler().ServeHTTP(w, req)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{r.pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// Env is the environment by which pipelines and commands reach the registry.
func (r *Registry) Env() map[string]string {
	return map[string]string{
		"SCHEMA_REGISTRY_URL": r.URL, "SCHEMA_REGISTRY_USER": User, "SCHEMA_REGISTRY_PASSWORD": Password, "SCHEMA_REGISTRY_TLS_CA": r.Cert,
	}
}

// Refused is how many requests came without the right login.
func (r *Registry) Refused() int64 { return r.refused.Load() }
