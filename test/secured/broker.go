// Package secured is a Kafka broker that is reached by TLS and with a password only, for tests of
// what connects to one.
package secured

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The one user of a broker. The password has what YAML and shells take for signs of their own, and
// Secret, which nobody may print in whatever quotes.
const (
	Mechanism = "SCRAM-SHA-512"
	User      = "alice"
	Secret    = "open-sesame"
	Password  = `it's "50%": #1 & {\n} * ` + Secret
)

// Broker is a running broker.
type Broker struct {
	Address string
	// CA is a file with the certificate to trust. The broker takes Cert and Key for those of a
	// client.
	CA, Cert, Key string

	cluster *kfake.Cluster
	roots   *x509.CertPool
	pair    tls.Certificate
}

// Start starts a broker. It may want a certificate of its clients too.
func Start(t testing.TB, clientAuth tls.ClientAuthType) *Broker {
	t.Helper()
	b := &Broker{}
	b.certify(t)
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

// certify makes a certificate that signs itself, and that serves both sides.
func (b *Broker) certify(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
		return path
	}
	b.Cert = write("broker.pem", "CERTIFICATE", der)
	b.CA = b.Cert
	b.Key = write("broker.key", "PRIVATE KEY", private)
	b.pair, err = tls.LoadX509KeyPair(b.Cert, b.Key)
	require.NoError(t, err)
	b.roots = x509.NewCertPool()
	b.roots.AddCert(b.pair.Leaf)
}

// Env is the environment by which pipelines and commands reach the broker.
func (b *Broker) Env() map[string]string {
	return map[string]string{
		"KAFKA_BROKERS": b.Address, "KAFKA_TLS": "true", "KAFKA_TLS_CA": b.CA,
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
// the connection, so that a client cannot tell that from a broker which goes down.
func (b *Broker) Refuse() {
	b.cluster.ControlKey(kmsg.SASLAuthenticate.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		res := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		res.ErrorCode = kerr.SaslAuthenticationFailed.Code
		why := "Authentication failed during authentication due to invalid credentials with SASL mechanism " + Mechanism
		res.ErrorMessage = &why
		return res, nil, true
	})
}
