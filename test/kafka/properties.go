package kafka

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/orderflow/orderflow/test/secured"
)

func (c *Cluster) propertiesFile(i int) string {
	return filepath.Join(c.dir, fmt.Sprintf("server-%d.properties", i))
}

func (c *Cluster) properties(i int) string {
	b, n := c.brokers[i], len(c.brokers)
	voters := make([]string, n)
	for j, other := range c.brokers {
		voters[j] = fmt.Sprintf("%d@%s", j+1, address(other.controller))
	}
	replicas, inSync := fmt.Sprint(n), fmt.Sprint((n+2)/2) // a majority of one is 1, of three is 2
	p := map[string]string{
		"process.roles":                    "broker,controller",
		"node.id":                          fmt.Sprint(i + 1),
		"controller.quorum.voters":         strings.Join(voters, ","),
		"listeners":                        "PLAINTEXT://" + address(b.port) + ",CONTROLLER://" + address(b.controller),
		"advertised.listeners":             "PLAINTEXT://" + address(b.port),
		"controller.listener.names":        "CONTROLLER",
		"listener.security.protocol.map":   "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs":                         filepath.Join(c.dir, fmt.Sprintf("data-%d", i)),
		"broker.session.timeout.ms":        "6000",
		"group.initial.rebalance.delay.ms": "0",
		"auto.create.topics.enable":        "false",
		"default.replication.factor":       replicas,
		"min.insync.replicas":              inSync,
		// Few partitions of the internal topics: they start faster.
		"offsets.topic.num.partitions":                     "4",
		"offsets.topic.replication.factor":                 replicas,
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    inSync,
		"share.coordinator.state.topic.num.partitions":     "1",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            inSync,
	}
	if c.secured != nil {
		c.secure(p, b)
	}
	maps.Copy(p, c.extra)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", name, p[name])
	}
	return text.String()
}

// secure adds a listener for TLS and SASL. Its users are made once the broker runs.
func (c *Cluster) secure(p map[string]string, b *broker) {
	for _, name := range []string{"listeners", "advertised.listeners"} {
		p[name] += ",SECURED://" + address(b.secured)
	}
	p["listener.security.protocol.map"] += ",SECURED:SASL_SSL"
	p["sasl.enabled.mechanisms"] = secured.Mechanism
	p["listener.name.secured."+strings.ToLower(secured.Mechanism)+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	p["ssl.keystore.type"] = "PEM"
	p["ssl.keystore.location"] = filepath.Join(c.dir, "keystore.pem")
}

// writeKeystore writes the key and the certificate as Kafka reads them, in one file.
func (c *Cluster) writeKeystore(from secured.Certificate) {
	c.t.Helper()
	var content []byte
	for _, path := range []string{from.Key, from.Cert} {
		part, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		content = append(content, part...)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "keystore.pem"), content, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// Java returns the path of a tool of the JDK: java, javac.
func Java(tool string) string {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", tool)
	}
	return tool
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// clusterID makes a Kafka UUID: 16 bytes in URL base64. One that begins with a dash would read
// as a flag.
func clusterID() string {
	for {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails
		if text := base64.RawURLEncoding.EncodeToString(id[:]); text[0] != '-' {
			return text
		}
	}
}

// handedOut are the ports that were found: whoever got one may not have bound it yet.
var handedOut struct {
	sync.Mutex
	ports map[int]bool
}

// freePorts finds ports below the range from which the kernel takes those of outgoing
// connections. A broker that is killed and started again finds its port free then; and a client
// that dials the port of a dead broker cannot be connected to itself.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	handedOut.Lock()
	defer handedOut.Unlock()
	if handedOut.ports == nil {
		handedOut.ports = map[int]bool{}
	}
	var ports []int
	offset := os.Getpid() % 1000 * 10
	for port := 20000 + offset; port < 32000 && len(ports) < n; port++ {
		if handedOut.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		defer l.Close()
		ports = append(ports, port)
		handedOut.ports[port] = true
	}
	if len(ports) < n {
		t.Fatalf("finding %d free ports below 32000: found %d", n, len(ports))
	}
	return ports
}
