package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/orderflow/orderflow/cmd/orderflow/topics"
	"github.com/orderflow/orderflow/config"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/shown"
)

// The pipelines, by the names of their files.
const (
	producer = "producer"
	consumer = "consumer"
	monitor  = "dlq_monitor"
)

// names are those of the built-in topics file when the environment sets none.
var names = Topics{Orders: "orders", Processed: "orders-processed", DeadLetters: "orders-dlq"}

const stateTopic = "orders-state"

// session is all that runs for a demo.
type session struct {
	options  Options
	dir      string
	broker   *devbroker.Broker
	registry *devbroker.RegistryServer
	reader   *reader
	stopRead context.CancelFunc
	// address is where each pipeline serves its metrics.
	address                     map[string]string
	producer, consumer, monitor *child
}

// begin starts everything. What was started before something failed is stopped again.
func begin(ctx context.Context, o Options) (s *session, err error) {
	s = &session{options: o}
	defer func() {
		if err != nil {
			err = s.end(io.Discard, err)
		}
	}()
	if s.dir, err = os.MkdirTemp("", "orderflow-demo-"); err != nil {
		return s, err
	}
	if err := layOut(filepath.Join(s.dir, "config")); err != nil {
		return s, fmt.Errorf("writing the pipelines: %w", err)
	}
	const free = "127.0.0.1:0"
	if s.broker, err = devbroker.Start(devbroker.Options{Address: free}); err != nil {
		return s, err
	}
	if s.registry, err = devbroker.StartRegistry(devbroker.RegistryOptions{Address: free, CanRead: order.CanRead}); err != nil {
		return s, err
	}
	list, err := topics.Parse(config.Topics, func(string) (string, bool) { return "", false })
	if err != nil {
		return s, fmt.Errorf("reading built-in topics: %w", err)
	}
	if err := topics.Apply(ctx, io.Discard, list, s.broker.ClientOpts()...); err != nil {
		return s, fmt.Errorf("creating topics: %w", err)
	}
	// Reading goes on when the context ends: the summaries and the check come after that.
	readCtx, stopRead := context.WithCancel(context.WithoutCancel(ctx))
	s.stopRead = stopRead
	if s.reader, err = startReader(readCtx, names, s.broker.ClientOpts()); err != nil {
		return s, err
	}
	if s.address, err = freeAddresses(producer, consumer, monitor); err != nil {
		return s, err
	}
	// The readers first, so that the first order does not wait for them.
	for _, start := range []struct {
		name string
		into **child
	}{{consumer, &s.consumer}, {monitor, &s.monitor}, {producer, &s.producer}} {
		if *start.into, err = startChild(o.Executable, s.dir, start.name, s.environment(start.name)); err != nil {
			return s, err
		}
	}
	return s, nil
}

// layOut writes the built-in pipelines and schemas, as they lie in the source tree: the
// pipelines name the schema by its path from there.
func layOut(dir string) error {
	return fs.WalkDir(config.Files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(path))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := config.Files.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
}

// environment returns what a pipeline reads from the environment. Each variable of a pipeline is
// set, so that the demo is the same whatever the caller has set.
func (s *session) environment(name string) []string {
	return []string{
		"KAFKA_BROKERS=" + s.broker.Address(),
		"KAFKA_TLS=false",
		"KAFKA_TLS_CA=",
		"KAFKA_SASL_MECHANISM=none",
		"KAFKA_SASL_USER=",
		"KAFKA_SASL_PASSWORD=",
		"SCHEMA_REGISTRY_URL=" + s.registry.URL(),
		"SCHEMA_REGISTRY_USER=",
		"SCHEMA_REGISTRY_PASSWORD=",
		"SCHEMA_REGISTRY_TLS_CA=",
		"ORDERS_TOPIC=" + names.Orders,
		"PROCESSED_TOPIC=" + names.Processed,
		"DLQ_TOPIC=" + names.DeadLetters,
		"DLQ_DIALECT=native",
		"STATE_TOPIC=" + stateTopic,
		"CONSUMER_GROUP=orderflow",
		"INSTANCE_ID=",
		"SKIP_UNREADABLE_STATE=",
		"COMMIT_INTERVAL=500ms",
		"SESSION_TIMEOUT=10s",
		"ORDER_COUNT=" + strconv.Itoa(s.options.Count),
		"ORDER_INTERVAL=" + s.options.Interval.String(),
		"ORDER_SEED=" + strconv.FormatInt(s.options.Seed, 10),
		"FAILURE_RATE=" + strconv.FormatFloat(s.options.FailureRate, 'f', -1, 64),
		"FAILURE_MODE=" + s.options.FailureMode,
		"FAILURE_SEED=" + strconv.FormatInt(s.options.Seed, 10),
		"BREAKER_RATIO=0", // each order comes to its end, also with a rate of 1
		"HTTP_ADDRESS=" + s.address[name],
		"LOG_LEVEL=INFO",
	}
}

// freeAddresses returns an address that nobody listens on for each name.
func freeAddresses(names ...string) (map[string]string, error) {
	addresses := map[string]string{}
	for _, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		// They are held until all are found, so that none is found twice.
		defer listener.Close()
		addresses[name] = listener.Addr().String()
	}
	return addresses, nil
}

// checkPipelines returns an error if a pipeline has ended that should not have.
func (s *session) checkPipelines() error {
	for _, c := range []*child{s.consumer, s.monitor} {
		if c.ended() {
			return fmt.Errorf("the %s pipeline ended too early: %w", c.name, orCleanly(c.err))
		}
	}
	if s.producer.ended() && s.producer.err != nil {
		return fmt.Errorf("running %s: %w", producer, s.producer.err)
	}
	return nil
}

func orCleanly(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// stopPipelines stops the pipelines in the order of the orders' way.
func (s *session) stopPipelines() error {
	var errs []error
	for _, c := range []*child{s.producer, s.consumer, s.monitor} {
		if c != nil {
			errs = append(errs, c.stop(patience))
		}
	}
	return errors.Join(errs...)
}

// end stops whatever still runs. If the demo failed, it shows the end of the logs and keeps the
// directory; otherwise nothing is left.
func (s *session) end(out io.Writer, err error) error {
	if stopErr := s.stopPipelines(); err == nil {
		err = stopErr
	}
	if s.reader != nil {
		s.stopRead()
		s.reader.close()
	}
	if s.registry != nil {
		err = errors.Join(err, s.registry.Close())
	}
	if s.broker != nil {
		s.broker.Close()
	}
	if err == nil || errors.Is(err, errInterrupted) {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	s.printLogs(out)
	return err
}

func (s *session) printLogs(out io.Writer) {
	if s.dir == "" {
		return
	}
	for _, c := range []*child{s.producer, s.consumer, s.monitor} {
		if c == nil {
			continue
		}
		fmt.Fprintf(out, "\n== The last lines of %s\n%s\n", c.logs, shown.Lines(c.tail(15)))
	}
	fmt.Fprintf(out, "\nThe logs are in %s.\n", s.dir)
}

// printCommands shows how to look around.
func (s *session) printCommands(out io.Writer) {
	address := s.broker.Address()
	lines := []string{
		"orderflow dlq list --brokers " + address + " --registry " + s.registry.URL(),
		"rpk topic consume " + names.DeadLetters + " -X brokers=" + address,
		"rpk topic consume " + names.Orders + " -X brokers=" + address + " -X registry.hosts=" + strings.TrimPrefix(s.registry.URL(), "http://") + " --use-schema-registry=value",
		"kcat -b " + address + " -C -t " + names.DeadLetters + ` -e -q -f '%p/%o %k\n  %h\n'`,
		"kcat -b " + address + " -C -t " + names.Processed + ` -e -q -f '%k %s %h\n'`,
		"curl -s " + s.registry.URL() + "/subjects",
	}
	for _, name := range []string{consumer, monitor} {
		lines = append(lines, "curl -s http://"+s.address[name]+"/metrics   # "+name)
	}
	fmt.Fprintf(out, "\n== Still running: look around, and stop it with Ctrl-C\n%s\nLogs: %s\n", strings.Join(lines, "\n"), s.dir)
}
