// Package devbroker is a Kafka broker and a schema registry for development and tests, in this
// process, with nothing to install. The broker is kfake and the registry srfake, both of the
// franz-go project, behind guards that make them fit to be left running.
//
// There is a single copy of the data. With a data directory, what was acknowledged survives the
// end of the process, kill -9 included; a power cut may lose the last writes unless Sync is set.
// One process uses a directory at a time. All methods are safe for concurrent use.
//
// Retention is applied, compaction is not: a compacted topic keeps all that was ever written to it,
// so it grows until its topic, or the data directory, is deleted.
package devbroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const (
	// retentionInterval is how often records that are too old, or too many, are deleted.
	retentionInterval = 15 * time.Second
	// never is 285 years in milliseconds, about the most that kfake can count in nanoseconds.
	never = "9000000000000"
)

// Options say how to start a broker.
type Options struct {
	// Address to listen on; port 0 takes a free one.
	Address string
	// Advertised is the host:port that clients are told to connect to. Empty: the address that
	// the broker listens on, or 127.0.0.1 where that is every interface.
	Advertised string
	// DataDir holds the data. Empty: in memory.
	DataDir string
	// Sync flushes every write to the disk before it is acknowledged.
	Sync bool
	// Log gets refused connections and the broker's own warnings.
	Log *slog.Logger

	retentionEvery time.Duration // 0: retentionInterval
}

// Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	address string
	local   string
	lock    *flock.Flock
	stop    context.CancelFunc // of deleteOld
	stopped chan struct{}
}

// Start starts a broker with the data that the directory holds.
func Start(o Options) (*Broker, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Broker{}
	if o.DataDir != "" {
		lock, err := lockDir(o.DataDir)
		if err != nil {
			return nil, err
		}
		b.lock = lock
		if err := makePrivate(kafkaDir(o.DataDir)); err != nil {
			b.unlock()
			return nil, fmt.Errorf("creating data directory: %w", err)
		}
	}
	listener, err := listen(o)
	if err != nil {
		b.unlock()
		return nil, err
	}
	b.address = listener.Addr().String()
	b.local = reachable(listener.Listener.Addr().(*net.TCPAddr))

	// Produce version 13 names topics by their ids. Two ids that the broker does not know, in one
	// request, end its process; a client sends them when topics were made anew under it.
	versions := kversion.Tip()
	versions.SetMaxKeyVersion(kmsg.Produce.Int16(), 12)

	opts := []kfake.Opt{
		kfake.MaxVersions(versions),
		// One broker, as the copy of the data is: several would only be ports.
		kfake.NumBrokers(1),
		kfake.ClusterID("orderflow-dev"),
		kfake.DefaultNumPartitions(1),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return listener, nil }),
		kfake.WithLogger(brokerLog{o.Log}),
		// At this interval kfake applies retention, which deleteOld does, and compacts, which loses
		// data: it takes what an open transaction has written for the newest value of a key, and
		// when that aborts there is none; and it removes the files before it writes them anew.
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": never}),
	}
	if o.DataDir != "" {
		opts = append(opts, kfake.DataDir(kafkaDir(o.DataDir)))
	}
	if o.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	if b.cluster, err = kfake.NewCluster(opts...); err != nil {
		_ = listener.Close() // the cause is err
		b.unlock()
		return nil, fmt.Errorf("starting broker: %w", err)
	}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	b.stopped = make(chan struct{})
	go b.deleteOld(ctx, cmp.Or(o.retentionEvery, retentionInterval))
	return b, nil
}

// deleteOld applies the retention of all topics until the context ends.
func (b *Broker) deleteOld(ctx context.Context, every time.Duration) {
	defer close(b.stopped)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			b.cluster.ApplyRetention()
		}
	}
}

// Address returns the host:port that clients connect to.
func (b *Broker) Address() string { return b.address }

// ClientOpts connect a client in this process, which need not be able to reach the advertised
// address.
func (b *Broker) ClientOpts() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(b.local),
		kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, b.local)
		}),
	}
}

// Cluster returns the broker itself, for tests that inject faults.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close stops the broker after it has written all of its state.
func (b *Broker) Close() {
	b.stop()
	<-b.stopped // a cluster that is closed would never answer it
	b.cluster.Close()
	b.unlock()
}

func (b *Broker) unlock() {
	if b.lock != nil {
		_ = b.lock.Unlock() // the end of the process unlocks it too
	}
}

func kafkaDir(dataDir string) string { return filepath.Join(dataDir, "kafka") }

// makePrivate makes a directory that only this user can look into, whatever the files in it allow.
// One that an older version left open to others is closed.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// lockDir makes the directory ours: two brokers in one directory would destroy its data.
func lockDir(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating data directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking data directory %s: %w", dir, err)
	}
	if !ok {
		return nil, fmt.Errorf("locking data directory %s: another broker uses it; stop that one or choose another directory", dir)
	}
	return lock, nil
}

// listen opens the guarded listener and works out what clients are told.
func listen(o Options) (*guardListener, error) {
	advertised, err := parseAdvertised(o.Advertised)
	if err != nil {
		return nil, err
	}
	inner, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for Kafka clients: %w", err)
	}
	if advertised == "" {
		advertised = reachable(inner.Addr().(*net.TCPAddr))
	}
	return &guardListener{Listener: inner, advertised: hostPort(advertised), log: o.Log}, nil
}

func parseAdvertised(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil && host == "" {
		err = errors.New("no host")
	}
	if err == nil {
		var n int
		if n, err = strconv.Atoi(port); err == nil && (n < 1 || n > 65535) {
			err = fmt.Errorf("port %d is not in 1 to 65535", n)
		}
	}
	if err != nil {
		return "", fmt.Errorf("advertised address %q: expected host:port: %w", address, err)
	}
	return address, nil
}

// reachable turns a listener's address into one that a client can dial.
func reachable(addr *net.TCPAddr) string {
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// hostPort is a net.Addr of a name that may not be ours to resolve.
type hostPort string

func (hostPort) Network() string  { return "tcp" }
func (a hostPort) String() string { return string(a) }

// brokerLog passes the broker's warnings on; below that it logs every request.
type brokerLog struct{ log *slog.Logger }

func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	switch level {
	case kfake.LogLevelError:
		l.log.Error(text)
	case kfake.LogLevelWarn:
		l.log.Warn(text)
	}
}
