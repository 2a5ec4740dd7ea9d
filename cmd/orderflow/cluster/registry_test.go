package cluster

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/test/secured"
)

// ask gives arguments to a command that has the flags of a registry, and asks it for its subjects.
func ask(t *testing.T, args ...string) (status int, err error) {
	t.Helper()
	app := &cli.App{Name: "orderflow", Writer: io.Discard, ErrWriter: io.Discard, Commands: []*cli.Command{exit.Strict(&cli.Command{
		Name: "ask", Flags: RegistryFlags(),
		Action: func(c *cli.Context) error {
			r, err := ParseRegistry(c)
			if err != nil || !r.Enabled() {
				return err
			}
			opts, err := r.Options()
			require.NoError(t, err)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, opts.URLs[0]+"/subjects", http.NoBody)
			require.NoError(t, err)
			require.NoError(t, opts.Sign(req))
			res, err := opts.HTTP.Do(req)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			status = res.StatusCode
			return nil
		},
	})}}
	err = app.RunContext(t.Context(), append([]string{"orderflow", "ask"}, args...))
	return status, err
}

func clean(t *testing.T) {
	t.Helper()
	for _, flag := range RegistryFlags() {
		for _, name := range flag.(cli.DocGenerationFlag).GetEnvVars() {
			t.Setenv(name, "") // as not set
		}
	}
}

func TestASecuredRegistryIsReached(t *testing.T) {
	r := secured.StartRegistry(t)
	t.Run("by flags", func(t *testing.T) {
		clean(t)
		status, err := ask(t, "--registry", r.URL, "--registry-user", secured.User, "--registry-password", secured.Password, "--registry-tls-ca", r.Cert)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	})
	t.Run("by the environment", func(t *testing.T) {
		for name, value := range r.Env() {
			t.Setenv(name, value)
		}
		status, err := ask(t)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	})
	t.Run("with a wrong password", func(t *testing.T) {
		clean(t)
		status, err := ask(t, "--registry", r.URL, "--registry-user", secured.User, "--registry-tls-ca", r.Cert)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, status)
	})
	t.Run("without its certificate", func(t *testing.T) {
		clean(t)
		_, err := ask(t, "--registry", "https://u:"+secured.Secret+"@"+r.URL[len("https://"):])
		require.ErrorContains(t, err, "certificate signed by unknown authority")
		require.NotContains(t, err.Error(), secured.Secret)
	})
}

func TestARegistryThatCannotBeIsNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, []byte("no certificate\n"), 0o600))
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"another scheme":                  {[]string{"--registry", "ftp://u:secret@a"}, `flag --registry: "ftp://a" is not allowed, must be like `},
		"a password alone":                {[]string{"--registry", "a:8081", "--registry-password", "secret"}, "flag --registry-password: needs --registry-user"},
		"a CA file that is not there":     {[]string{"--registry", "a:8081", "--registry-tls-ca", "/no/ca.pem"}, "flag --registry-tls-ca: open /no/ca.pem: no such file or directory"},
		"a CA file without a certificate": {[]string{"--registry", "a:8081", "--registry-tls-ca", empty}, `flag --registry-tls-ca: "` + empty + `", holds no certificate in PEM`},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			_, err := ask(t, test.args...)
			require.ErrorContains(t, err, test.says)
			require.Equal(t, exit.Wrong, exit.Code(err))
			require.NotContains(t, err.Error(), "secret")
		})
	}
	clean(t)
	t.Setenv("SCHEMA_REGISTRY_TLS_CA", "/no/ca.pem")
	_, err := ask(t)
	require.NoError(t, err, "there is no registry that it could be for")
}
