// Package kafka starts Apache Kafka for tests: one broker or three, from Maven's jars, on this
// machine's Java, without Docker. Brokers can be killed, started again and frozen.
//
// Its tests are slow and need Java 17 and Maven, so they run only when they are asked for:
//
//	ORDERFLOW_KAFKA=1 go test ./test/kafka
package kafka

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/secured"
)

// Env names the variable that turns the tests against Apache Kafka on.
const Env = "ORDERFLOW_KAFKA"

// Require skips a test unless tests against Apache Kafka were asked for.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(Env) == "" {
		t.Skipf("needs a JDK 17 and Maven, in test/clients Python 3 and kcat too; run it with %s=1 go test ./test/kafka ./test/clients", Env)
	}
}

// Options of a cluster; the zero value is one broker.
type Options struct {
	Brokers    int               // 1 or 3; 0 is 1
	Properties map[string]string // added to every broker's server.properties
	Dir        string            // data and logs; empty is t.TempDir()
	// Secured is a certificate by which every broker also listens for clients that come by TLS and
	// with a password; nil is none.
	Secured *secured.Certificate
}

// Cluster is a number of brokers that are controllers as well. Its methods are called from the
// goroutine of the test.
type Cluster struct {
	t       testing.TB
	jars    string
	dir     string
	id      string
	extra   map[string]string
	secured *secured.Certificate
	brokers []*broker
}

type broker struct {
	port, controller int
	secured          int            // a port
	process          *child.Process // nil when it does not run
}

// Start starts a cluster and returns when all of its brokers serve. It is ended with the test.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	Require(t)
	o.Brokers = max(o.Brokers, 1)
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	c := &Cluster{t: t, jars: libs(t), dir: o.Dir, id: clusterID(), extra: o.Properties, secured: o.Secured}
	ports := freePorts(t, 3*o.Brokers)
	for i := range o.Brokers {
		c.brokers = append(c.brokers, &broker{port: ports[3*i], controller: ports[3*i+1], secured: ports[3*i+2]})
	}

	if o.Secured != nil {
		c.writeKeystore(*o.Secured)
	}
	begun := time.Now()
	var formatted sync.WaitGroup
	errs := make([]error, o.Brokers)
	for i := range c.brokers {
		formatted.Go(func() { errs[i] = c.format(i) })
	}
	formatted.Wait()
	for i := range c.brokers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		c.launch(i)
	}
	c.awaitBrokers()
	t.Logf("Apache Kafka, brokers: %d, started in %v", o.Brokers, time.Since(begun).Round(100*time.Millisecond))
	return c
}

// Addresses are the bootstrap servers.
func (c *Cluster) Addresses() []string {
	var all []string
	for _, b := range c.brokers {
		all = append(all, address(b.port))
	}
	return all
}

// Kill ends a broker as a power cut does.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	c.running(i).Kill()
	c.brokers[i].process = nil
}

// Stop ends a broker in good order.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	// Java exits with 143 after SIGTERM; what counts is that it ended.
	_ = c.running(i).Terminate(30 * time.Second)
	c.brokers[i].process = nil
}

// Start starts a broker that was killed or stopped, with the data that it had, and returns when
// it serves again.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	if c.brokers[i].process != nil {
		c.t.Fatalf("starting broker %d: it runs", i)
	}
	c.launch(i)
	c.awaitBrokers()
}

// Freeze stops a broker without its noticing.
func (c *Cluster) Freeze(i int) {
	c.t.Helper()
	if err := c.running(i).Freeze(); err != nil {
		c.t.Fatal(err)
	}
}

// Thaw lets a frozen broker go on.
func (c *Cluster) Thaw(i int) {
	c.t.Helper()
	if err := c.running(i).Thaw(); err != nil {
		c.t.Fatal(err)
	}
}

// Client returns a client of the cluster that is closed with the test.
func (c *Cluster) Client(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Addresses()...),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		c.t.Fatalf("making a Kafka client: %v", err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

// CreateTopic makes a topic that is replicated to all brokers.
func (c *Cluster) CreateTopic(topic string, partitions int32, configs map[string]string) {
	c.t.Helper()
	values := make(map[string]*string, len(configs))
	for name, value := range configs {
		values[name] = kadm.StringPtr(value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := kadm.NewClient(c.Client()).CreateTopic(ctx, partitions, int16(len(c.brokers)), values, topic)
	if err != nil {
		c.t.Fatalf("creating topic %s: %v", topic, err)
	}
}

// AwaitInSync waits until every partition has all its replicas in sync. A test that kills one
// broker after the other needs it, else two replicas may be missing at a time.
func (c *Cluster) AwaitInSync() {
	c.t.Helper()
	c.poll("all replicas in sync", func(ctx context.Context, admin *kadm.Client) (string, bool) {
		topics, err := admin.ListTopicsWithInternal(ctx)
		if err != nil {
			return err.Error(), false
		}
		var behind []string
		topics.EachPartition(func(p kadm.PartitionDetail) {
			if len(p.ISR) < len(p.Replicas) {
				behind = append(behind, fmt.Sprintf("%s/%d", p.Topic, p.Partition))
			}
		})
		return fmt.Sprintf("behind: %v", behind), len(behind) == 0
	})
}

func (c *Cluster) running(i int) *child.Process {
	c.t.Helper()
	p := c.brokers[i].process
	if p == nil {
		c.t.Fatalf("broker %d does not run", i)
	}
	return p
}

// awaitBrokers waits until every broker that was started serves and is known to the others.
func (c *Cluster) awaitBrokers() {
	c.t.Helper()
	want := 0
	for _, b := range c.brokers {
		if b.process != nil {
			want++
		}
	}
	c.poll(fmt.Sprintf("brokers: %d", want), func(ctx context.Context, admin *kadm.Client) (string, bool) {
		for i, b := range c.brokers {
			if b.process == nil {
				continue
			}
			select {
			case <-b.process.Done():
				c.t.Fatalf("broker %d ended:\n%s", i, b.process.Tail(20))
			default:
			}
		}
		known, err := admin.ListBrokers(ctx)
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("brokers: %v", known.NodeIDs()), len(known) == want
	})
}

func (c *Cluster) poll(what string, check func(context.Context, *kadm.Client) (string, bool)) {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)

	over := time.After(60 * time.Second)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		state, ok := check(ctx, admin)
		cancel()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-over:
			c.t.Fatalf("waiting for %s: not within a minute; %s", what, state)
		}
	}
}

func (c *Cluster) launch(i int) {
	c.t.Helper()
	c.brokers[i].process = child.Start(c.t, child.Command{
		Name: fmt.Sprintf("kafka-%d", i),
		Path: Java("java"),
		Args: []string{"-Xmx512m", "-XX:+UseSerialGC", "-cp", filepath.Join(c.jars, "*"), "kafka.Kafka", c.propertiesFile(i)},
		Dir:  c.dir,
		Logs: c.dir,
		Tail: 3,
	})
}

// format writes a broker's configuration and prepares its data directory.
func (c *Cluster) format(i int) error {
	if err := os.WriteFile(c.propertiesFile(i), []byte(c.properties(i)), 0o644); err != nil {
		return err
	}
	tool := exec.Command(Java("java"), "-cp", filepath.Join(c.jars, "*"), "kafka.tools.StorageTool",
		"format", "-t", c.id, "-c", c.propertiesFile(i))
	if out, err := tool.CombinedOutput(); err != nil {
		return fmt.Errorf("formatting the data directory of broker %d: %w\n%s", i, err, out)
	}
	return nil
}
