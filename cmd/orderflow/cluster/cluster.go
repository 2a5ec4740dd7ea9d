package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/connection"
)

// Cluster is a Kafka cluster, and how to talk to it.
type Cluster struct {
	// Brokers are those to connect to first, each as host:port; there is at least one.
	Brokers []string
	// Opts are those of a client: the brokers, TLS and SASL.
	Opts []kgo.Opt
}

// String names the cluster in messages.
func (c Cluster) String() string { return strings.Join(c.Brokers, ",") }

// Refused tells whether an error says that the brokers do not take this client, now or later: a
// wrong password, or a certificate that is not trusted. A broker that is still starting gives
// other errors.
func Refused(err error) bool {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return !e.Retriable
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return untrusted
}

// settings are the values of the flags.
type settings struct {
	brokers                   string
	tls                       bool
	noTLS                     bool // it was said that there is none, not only left out
	ca, cert, key             string
	mechanism, user, password string
}

// cluster checks the settings as far as that can be done without a connection. An error names
// the flag and its value, but no password.
func (s settings) cluster() (Cluster, error) {
	c := Cluster{Brokers: connection.Split([]string{s.brokers})}
	if len(c.Brokers) == 0 {
		return c, wrong(flagBrokers, s.brokers, "expected at least one host:port")
	}
	for _, b := range c.Brokers {
		if err := connection.CheckAddress(b); err != nil {
			return c, fmt.Errorf("flag --%s: %w", flagBrokers, err)
		}
	}
	c.Opts = append(c.Opts, kgo.SeedBrokers(c.Brokers...))
	conf, err := s.tlsConfig()
	if err != nil {
		return c, err
	}
	if conf != nil {
		c.Opts = append(c.Opts, kgo.DialTLSConfig(conf))
	}
	opt, err := s.sasl()
	if err != nil {
		return c, err
	}
	if opt != nil {
		c.Opts = append(c.Opts, opt)
	}
	return c, nil
}

// tlsConfig is nil if there is to be no TLS.
func (s settings) tlsConfig() (*tls.Config, error) {
	if !s.tls {
		for _, f := range []struct{ flag, file string }{{flagCA, s.ca}, {flagCert, s.cert}, {flagKey, s.key}} {
			if f.file != "" && !s.noTLS {
				return nil, wrong(f.flag, f.file, "needs --"+flagTLS+" (or "+envTLS+"=true)")
			}
		}
		return nil, nil
	}
	conf := &tls.Config{}
	var err error
	if conf.RootCAs, err = trusted(flagCA, s.ca); err != nil {
		return nil, err
	}
	switch {
	case s.cert == "" && s.key == "":
		return conf, nil
	case s.key == "":
		return nil, wrong(flagCert, s.cert, "needs --"+flagKey)
	case s.cert == "":
		return nil, wrong(flagKey, s.key, "needs --"+flagCert)
	}
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return nil, fmt.Errorf("flags --%s %q and --%s %q: %w", flagCert, s.cert, flagKey, s.key, err)
	}
	conf.Certificates = []tls.Certificate{pair}
	return conf, nil
}

// trusted returns the certificates of a file, nil for those of the system if there is none.
func trusted(flag, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("flag --%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, wrong(flag, file, "holds no certificate in PEM")
	}
	return pool, nil
}

// sasl is nil if there is to be no SASL.
func (s settings) sasl() (kgo.Opt, error) {
	switch {
	case s.mechanism == connection.NoMechanism:
		return nil, nil
	case s.mechanism == "" && s.user != "":
		return nil, wrong(flagUser, s.user, "needs --"+flagMechanism)
	case s.mechanism == "" && s.password != "":
		return nil, fmt.Errorf("flag --%s: needs --%s and --%s", flagPassword, flagMechanism, flagUser)
	case s.mechanism == "":
		return nil, nil
	}
	mechanism := connection.PasswordMechanism(s.mechanism, s.user, s.password)
	switch {
	case mechanism == nil:
		return nil, wrong(flagMechanism, s.mechanism, "expected one of "+mechanisms)
	case s.user == "":
		return nil, wrong(flagMechanism, s.mechanism, "needs --"+flagUser)
	case s.password == "":
		return nil, wrong(flagUser, s.user, "needs a password in "+envPassword+" (or --"+flagPassword+")")
	}
	return kgo.SASL(mechanism), nil
}

func wrong(flag, value, why string) error { return fmt.Errorf("flag --%s: %q, %s", flag, value, why) }
