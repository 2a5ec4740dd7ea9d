package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/order/registry"
)

const (
	flagRegistry         = "registry"
	flagRegistryUser     = "registry-user"
	flagRegistryPassword = "registry-password"
	flagRegistryCA       = "registry-tls-ca"
)

// RegistryFlags returns the flags of a command that reads or writes Avro: how to reach a schema
// registry.
func RegistryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagRegistry, Usage: "comma-separated `URLS` of the schema registry; they can hold a user and a password", EnvVars: []string{"SCHEMA_REGISTRY_URL"}, DefaultText: "none"},
		&cli.StringFlag{Name: flagRegistryUser, Usage: "the `USER` of the registry", EnvVars: []string{"SCHEMA_REGISTRY_USER"}, DefaultText: "none"},
		&cli.StringFlag{Name: flagRegistryPassword, Usage: "the `PASSWORD` of the registry; others can see it on a command line, but not in the variable", EnvVars: []string{"SCHEMA_REGISTRY_PASSWORD"}, DefaultText: "none"},
		&cli.StringFlag{Name: flagRegistryCA, Usage: "a PEM `FILE` with the certificates to trust for https", EnvVars: []string{"SCHEMA_REGISTRY_TLS_CA"}, DefaultText: "those of the system"},
	}
}

// Registry is what the flags say of a registry.
type Registry struct {
	registry.Access
	// CA is the file that the certificates of Access came from.
	CA string
}

// ParseRegistry returns the registry that the flags of a command name, which may be none. Its
// errors are those of a wrong call; nothing was connected to by then.
func ParseRegistry(c *cli.Context) (Registry, error) {
	r := Registry{
		Access: registry.Access{URL: c.String(flagRegistry), User: c.String(flagRegistryUser), Password: c.String(flagRegistryPassword), Timeout: 5 * time.Second},
		CA:     c.String(flagRegistryCA),
	}
	if !r.Enabled() {
		return Registry{}, nil
	}
	r.URL = registry.Complete(r.URL) // as rpk does
	if _, err := r.Options(); err != nil {
		return Registry{}, exit.Usage(c, fmt.Errorf("flag --%s: %w", flagRegistry, err))
	}
	if r.User == "" && r.Password != "" {
		return Registry{}, exit.Usage(c, fmt.Errorf("flag --%s: %w", flagRegistryPassword, errors.New("needs --"+flagRegistryUser)))
	}
	pool, err := trusted(flagRegistryCA, r.CA)
	if err != nil {
		return Registry{}, exit.Usage(c, err)
	}
	r.TLS = &tls.Config{RootCAs: pool}
	return r, nil
}
