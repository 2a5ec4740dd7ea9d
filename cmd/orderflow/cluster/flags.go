// Package cluster is the flags by which commands reach a Kafka cluster: its brokers, TLS and
// SASL. They have the names that rpk gives them, and the variables that the pipelines read.
package cluster

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/connection"
)

const (
	flagBrokers   = "brokers"
	flagTLS       = "tls-enabled"
	flagCA        = "tls-ca"
	flagCert      = "tls-cert"
	flagKey       = "tls-key"
	flagMechanism = "sasl-mechanism"
	flagUser      = "user"
	flagPassword  = "password"
)

const (
	envTLS      = "KAFKA_TLS"
	envPassword = "KAFKA_SASL_PASSWORD"
)

// mechanisms is what --sasl-mechanism can be.
var mechanisms = strings.Join(append([]string{connection.NoMechanism}, connection.PasswordMechanisms...), ", ")

// Flags returns the flags of a command: the brokers, those that it has of its own, TLS and SASL.
func Flags(own ...cli.Flag) []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: flagBrokers, Aliases: []string{"b"}, Usage: "comma-separated `ADDRESSES` of the brokers", EnvVars: []string{"KAFKA_BROKERS"}, Value: "localhost:9092"},
	}
	flags = append(flags, own...)
	return append(flags,
		&cli.BoolFlag{Name: flagTLS, Usage: "connect by TLS", EnvVars: []string{envTLS}},
		&cli.StringFlag{Name: flagCA, Usage: "a PEM `FILE` with the certificates to trust", EnvVars: []string{"KAFKA_TLS_CA"}, DefaultText: "those of the system"},
		&cli.StringFlag{Name: flagCert, Usage: "a PEM `FILE` with a client certificate", EnvVars: []string{"KAFKA_TLS_CERT"}, DefaultText: "none"},
		&cli.StringFlag{Name: flagKey, Usage: "a PEM `FILE` with the key of the client certificate", EnvVars: []string{"KAFKA_TLS_KEY"}, DefaultText: "none"},
		&cli.StringFlag{Name: flagMechanism, Usage: "the SASL `MECHANISM`: " + mechanisms, EnvVars: []string{"KAFKA_SASL_MECHANISM"}, DefaultText: connection.NoMechanism},
		&cli.StringFlag{Name: flagUser, Usage: "the SASL `USER`", EnvVars: []string{"KAFKA_SASL_USER"}, DefaultText: "none"},
		&cli.StringFlag{Name: flagPassword, Usage: "the SASL `PASSWORD`; others can see it on a command line, but not in the variable", EnvVars: []string{envPassword}, DefaultText: "none"},
	)
}

// Parse returns the cluster that the flags of a command name. Its errors are those of a wrong
// call; nothing was connected to by then.
func Parse(c *cli.Context) (Cluster, error) {
	s := settings{
		brokers: c.String(flagBrokers),
		tls:     c.Bool(flagTLS), noTLS: c.IsSet(flagTLS) && !c.Bool(flagTLS),
		ca: c.String(flagCA), cert: c.String(flagCert), key: c.String(flagKey),
		mechanism: c.String(flagMechanism), user: c.String(flagUser), password: c.String(flagPassword),
	}
	cluster, err := s.cluster()
	if err != nil {
		return Cluster{}, exit.Usage(c, err)
	}
	return cluster, nil
}
