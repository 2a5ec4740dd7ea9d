// Package secured is a Kafka broker that is reached by TLS and with a password only, for tests of
// what connects to one.
package secured

import (
	"crypto/tls"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The one user of a broker. User and password have what YAML and shells take for signs of their
// own, or for nothing, and the password has Secret, which nobody may print in whatever quotes.
const (
	Mechanism = "SCRAM-SHA-512"
	User      = `CORP\nalice "a"`
	Secret    = "open-sesame"
	Password  = " \t" + `it's "50%": #1 & {\n} ${X} * ` + Secret + " \t "
)

// Broker is a running broker.
type Broker struct {
	Address string
	// Certificate is that of the broker. It takes the same one from its clients.
	Certificate

	cluster *kfake.Cluster
}

// Start starts a broker. It may want a certificate of its clients too.
func Start(t testing.TB, clientAuth tls.ClientAuthType) *Broker {
	t.Helper()
	b := &Broker{Certificate: Certify(t)}
	// For the limit see internal/devbroker.
	versions := kversion.Tip()
	versions.SetMaxKeyVersion(kmsg.Produce.Int16(), 12)
	var err error
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.MaxVersions(versions),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{b.pair}, ClientAuth: clientAuth, ClientCAs: b.roots}),
		kfake.EnableSASL(),
		kfake.Superuser(Mechanism, User, Password),
	)
	require.NoError(t, err)
	t.Cleanup(b.cluster.Close)
	b.Address = b.cluster.ListenAddrs()[0]
	return b
}

// Env is the environment by which pipelines and commands reach the broker.
func (b *Broker) Env() map[string]string { return Env(b.Address, b.Certificate) }

// Env is the environment by which pipelines and commands reach a broker with this certificate.
func Env(address string, c Certificate) map[string]string {
	return map[string]string{
		"KAFKA_BROKERS": address, "KAFKA_TLS": "true", "KAFKA_TLS_CA": c.Cert,
		"KAFKA_SASL_MECHANISM": Mechanism, "KAFKA_SASL_USER": User, "KAFKA_SASL_PASSWORD": Password,
	}
}

// ClientOpts connect a client in this process.
func (b *Broker) ClientOpts() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(b.Address),
		kgo.DialTLSConfig(&tls.Config{RootCAs: b.roots, Certificates: []tls.Certificate{b.pair}}),
		kgo.SASL(scram.Auth{User: User, Pass: Password}.AsSha512Mechanism()),
	}
}

// Refuse makes the broker answer each password as Kafka answers a wrong one. By itself it closes
// the connection, so that a client cannot tell that from a broker which goes down. What it returns
// tells how many passwords were refused so far.
func (b *Broker) Refuse() (refused func() int64) {
	var n atomic.Int64
	b.cluster.ControlKey(kmsg.SASLAuthenticate.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		n.Add(1)
		res := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		res.ErrorCode = kerr.SaslAuthenticationFailed.Code
		why := "Authentication failed during authentication due to invalid credentials with SASL mechanism " + Mechanism
		res.ErrorMessage = &why
		return res, nil, true
	})
	return n.Load
}
