package cluster

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/test/secured"
)

// call gives arguments to a command that has the flags, and pings the brokers.
func call(t *testing.T, args ...string) (Cluster, error) {
	t.Helper()
	var parsed Cluster
	app := &cli.App{Name: "orderflow", Writer: io.Discard, ErrWriter: io.Discard, Commands: []*cli.Command{exit.Strict(&cli.Command{
		Name: "ping", Flags: Flags(),
		Action: func(c *cli.Context) (err error) {
			if parsed, err = Parse(c); err != nil {
				return err
			}
			client, err := kgo.NewClient(parsed.Opts...)
			require.NoError(t, err)
			defer client.Close()
			return client.Ping(c.Context)
		},
	})}}
	err := app.RunContext(t.Context(), append([]string{"orderflow", "ping"}, args...))
	return parsed, err
}

// unset clears what the machine may have set, until the test ends.
func unset(t *testing.T) {
	t.Helper()
	for _, flag := range Flags() {
		for _, name := range flag.(cli.DocGenerationFlag).GetEnvVars() {
			t.Setenv(name, "")
			require.NoError(t, os.Unsetenv(name))
		}
	}
}

func TestASecuredBrokerIsReached(t *testing.T) {
	b := secured.Start(t, tls.RequireAndVerifyClientCert)
	t.Run("by flags", func(t *testing.T) {
		unset(t)
		parsed, err := call(t, "-b", " "+b.Address+" ,", "--tls-enabled", "--tls-ca", b.Cert, "--tls-cert", b.Cert, "--tls-key", b.Key,
			"--sasl-mechanism", secured.Mechanism, "--user", secured.User, "--password", secured.Password)
		require.NoError(t, err)
		require.Equal(t, []string{b.Address}, parsed.Brokers)
		require.Equal(t, b.Address, parsed.String())
	})
	t.Run("by the environment", func(t *testing.T) {
		unset(t)
		for name, value := range b.Env() {
			t.Setenv(name, value)
		}
		t.Setenv("KAFKA_TLS_CERT", b.Cert)
		t.Setenv("KAFKA_TLS_KEY", b.Key)
		_, err := call(t)
		require.NoError(t, err)
	})
}

func TestFlagsTurnOffWhatTheEnvironmentTurnsOn(t *testing.T) {
	unset(t)
	for name, value := range secured.Start(t, tls.NoClientCert).Env() {
		t.Setenv(name, value)
	}
	t.Setenv("KAFKA_TLS_CERT", "not read")
	plain, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	defer plain.Close()
	_, err = call(t, "--brokers", plain.Address(), "--tls-enabled=false", "--sasl-mechanism", "none")
	require.NoError(t, err)
}

func TestAWrongCallIsNamedBeforeAnythingIsConnectedTo(t *testing.T) {
	b := secured.Start(t, tls.NoClientCert)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, []byte("no certificate\n"), 0o600))
	tests := map[string]struct {
		args []string
		env  map[string]string
		says string
	}{
		"no broker":                         {[]string{"--brokers", " , "}, nil, `flag --brokers: " , ", expected at least one host:port`},
		"an unknown mechanism":              {[]string{"--sasl-mechanism", "GSSAPI", "--user", "a", "--password", "b"}, nil, `flag --sasl-mechanism: "GSSAPI", expected one of none, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512`},
		"a mechanism without a user":        {[]string{"--sasl-mechanism", "PLAIN"}, nil, `flag --sasl-mechanism: "PLAIN", needs --user`},
		"a user without a password":         {[]string{"--sasl-mechanism", "PLAIN", "--user", "alice"}, nil, `flag --user: "alice", needs a password in KAFKA_SASL_PASSWORD (or --password)`},
		"a user without a mechanism":        {[]string{"--user", "alice"}, map[string]string{"KAFKA_SASL_PASSWORD": "secret"}, `flag --user: "alice", needs --sasl-mechanism`},
		"a password alone":                  {nil, map[string]string{"KAFKA_SASL_PASSWORD": "secret"}, `flag --password: needs --sasl-mechanism and --user`},
		"a CA file that is not there":       {[]string{"--tls-enabled", "--tls-ca", "/no/ca.pem"}, nil, `flag --tls-ca: open /no/ca.pem: no such file or directory`},
		"a CA file without a certificate":   {[]string{"--tls-enabled", "--tls-ca", empty}, nil, `flag --tls-ca: "` + empty + `", holds no certificate in PEM`},
		"a certificate without a key":       {[]string{"--tls-enabled", "--tls-cert", b.Cert}, nil, `flag --tls-cert: "` + b.Cert + `", needs --tls-key`},
		"a key without a certificate":       {[]string{"--tls-enabled", "--tls-key", b.Key}, nil, `flag --tls-key: "` + b.Key + `", needs --tls-cert`},
		"a certificate that is none":        {[]string{"--tls-enabled", "--tls-cert", empty, "--tls-key", b.Key}, nil, `flags --tls-cert "` + empty + `" and --tls-key "` + b.Key + `": tls: `},
		"a CA file without TLS":             {[]string{"--tls-ca", b.Cert}, nil, `flag --tls-ca: "` + b.Cert + `", needs --tls-enabled (or KAFKA_TLS=true)`},
		"a certificate without TLS":         {[]string{"--tls-cert", b.Cert}, nil, `flag --tls-cert: "` + b.Cert + `", needs --tls-enabled`},
		"a variable that is not true/false": {nil, map[string]string{"KAFKA_TLS": "maybe"}, `variable KAFKA_TLS: "maybe", expected true or false`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			unset(t)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			// Nobody listens there, so that a connection would be another error.
			_, err := call(t, append([]string{"--brokers", "127.0.0.1:1"}, test.args...)...)
			require.ErrorContains(t, err, test.says)
			require.Equal(t, exit.Wrong, exit.Code(err))
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestWhatARefusalIs(t *testing.T) {
	b := secured.Start(t, tls.NoClientCert)
	sasl := []string{"--sasl-mechanism", secured.Mechanism, "--user", secured.User, "--password"}
	trusted := []string{"--tls-enabled", "--tls-ca", b.Cert}
	ping := func(address string, args ...[]string) error {
		all := []string{"--brokers", address}
		for _, a := range args {
			all = append(all, a...)
		}
		begun := time.Now()
		_, err := call(t, all...)
		require.Error(t, err)
		require.Less(t, time.Since(begun), 5*time.Second)
		return err
	}
	unset(t)
	err := ping(b.Address, []string{"--tls-enabled"})
	require.True(t, Refused(err), "a certificate that is not trusted: %v", err)
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	err = ping("127.0.0.1:1")
	require.False(t, Refused(err), "nobody there, yet: %v", err)
	err = ping(b.Address, trusted, sasl, []string{"wrong"})
	require.False(t, Refused(err), "a connection that is closed, for whatever reason: %v", err)
	b.Refuse()
	err = ping(b.Address, trusted, sasl, []string{"wrong"})
	require.True(t, Refused(err), "a wrong password: %v", err)
	require.ErrorContains(t, err, "SASL_AUTHENTICATION_FAILED")
	require.False(t, Refused(errors.New("anything else")))
}
