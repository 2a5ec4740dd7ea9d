package adapter_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/adapter"
)

func parse(t *testing.T, yaml string) *service.ParsedConfig {
	t.Helper()
	conf, err := service.NewConfigSpec().Field(adapter.SchemaField()).Field(adapter.RegistryField()).ParseYAML(yaml, nil)
	require.NoError(t, err)
	return conf
}

func TestTheBuiltInSchemaIsTheDefault(t *testing.T) {
	s, err := adapter.Schema(parse(t, ``), service.MockResources())
	require.NoError(t, err)
	require.Equal(t, schemas.Order, s.String())

	path := filepath.Join(t.TempDir(), "own.avsc")
	require.NoError(t, os.WriteFile(path, []byte(`"string"`), 0o600))
	s, err = adapter.Schema(parse(t, `schema_path: `+path), service.MockResources())
	require.NoError(t, err)
	require.Equal(t, `"string"`, s.String())
}

func TestWithoutAddressThereIsNoRegistry(t *testing.T) {
	reader, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	c, err := adapter.Registry(parse(t, ``), service.MockResources(), reader, "test")
	require.NoError(t, err)
	require.Nil(t, c)
}

func TestRequestsCarryTheLogin(t *testing.T) {
	var login []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		login = nil
		if user, password, ok := req.BasicAuth(); ok {
			login = []string{user, password}
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error_code":40403,"message":"schema not found"}`))
	}))
	defer server.Close()
	reader, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	host := strings.TrimPrefix(server.URL, "https://")
	for name, test := range map[string]struct {
		url, auth string
		want      []string
	}{
		"of basic_auth":            {server.URL, `{ enabled: true, username: me, password: " secret" }`, []string{"me", " secret"}},
		"of the address":           {"https://u:p%40@" + host, `{ enabled: true, username: "", password: "" }`, []string{"u", "p@"}},
		"of both":                  {"https://u:p@" + host, `{ enabled: true, username: me, password: secret }`, []string{"u", "p"}},
		"none, without a username": {server.URL, `{ enabled: true, username: "", password: "" }`, nil},
		"none, off":                {server.URL, `{ enabled: false, username: me, password: secret }`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := adapter.Registry(parse(t, `
registry:
  url: "`+test.url+`"
  tls: { enabled: true, skip_cert_verify: true }
  basic_auth: `+test.auth+`
`), service.MockResources(), reader, "test")
			require.NoError(t, err)
			_, err = c.Decoder(t.Context(), 1)
			require.ErrorContains(t, err, "schema not found")
			require.Equal(t, test.want, login)
		})
	}
}
