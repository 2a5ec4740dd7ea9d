package adapter_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	var user, password string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ = req.BasicAuth()
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error_code":40403,"message":"schema not found"}`))
	}))
	defer server.Close()
	reader, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	c, err := adapter.Registry(parse(t, `
registry:
  url: `+server.URL+`
  tls: { enabled: true, skip_cert_verify: true }
  basic_auth: { enabled: true, username: me, password: secret }
`), service.MockResources(), reader, "test")
	require.NoError(t, err)
	_, err = c.Decoder(t.Context(), 1)
	require.ErrorContains(t, err, "schema not found")
	require.Equal(t, []string{"me", "secret"}, []string{user, password})
}
