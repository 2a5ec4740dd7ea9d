package devbroker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// childDir names the variable that makes the test binary a broker with this data directory.
const childDir = "DEVBROKER_TEST_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	broker, err := Start(Options{Address: "127.0.0.1:0", DataDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(broker.Address())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends, should it not kill us
}

func start(t testing.TB, o Options) *Broker {
	t.Helper()
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	broker, err := Start(o)
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	return broker
}

func client(t testing.TB, address string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address), kgo.MetadataMinAge(100 * time.Millisecond)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// values reads a topic until it has seen n records, at the least.
func values(t testing.TB, address, topic string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := client(t, address, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var all []string
	for len(all) < n {
		fetches := c.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { all = append(all, string(r.Value)) })
	}
	return all
}

func TestAdvertisedAddress(t *testing.T) {
	tests := map[string]struct {
		options Options
		host    string
		exact   string
	}{
		"the interface that it listens on": {Options{Address: "127.0.0.1:0"}, "127.0.0.1", ""},
		"a name is resolved":               {Options{Address: "localhost:0"}, "", ""},
		"every interface is this machine":  {Options{Address: ":0"}, "127.0.0.1", ""},
		"what it is told":                  {Options{Address: ":0", Advertised: "broker:9092"}, "", "broker:9092"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			listener, err := listen(test.options)
			require.NoError(t, err)
			defer listener.Close()
			got := listener.Addr().String()
			if test.exact != "" {
				require.Equal(t, test.exact, got)
				return
			}
			if test.host != "" {
				host, _, err := net.SplitHostPort(got)
				require.NoError(t, err)
				require.Equal(t, test.host, host)
			}
			conn, err := net.Dial("tcp", got)
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		})
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	first := start(t, Options{DataDir: dir})
	tests := map[string]struct {
		options Options
		problem string
	}{
		"a second broker in a directory": {Options{Address: "127.0.0.1:0", DataDir: dir}, "another broker uses it"},
		"an address that is taken":       {Options{Address: first.Address()}, "listening for Kafka clients"},
		"an advertised host alone":       {Options{Address: "127.0.0.1:0", Advertised: "broker"}, `advertised address "broker": expected host:port`},
		"an advertised port alone":       {Options{Address: "127.0.0.1:0", Advertised: ":9092"}, "no host"},
		"an advertised port 0":           {Options{Address: "127.0.0.1:0", Advertised: "broker:0"}, "port 0 is not in 1 to 65535"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Start(test.options)
			require.ErrorContains(t, err, test.problem)
		})
	}
}

func TestDirectoryIsFreeAfterClose(t *testing.T) {
	dir := t.TempDir()
	broker, err := Start(Options{Address: "127.0.0.1:0", DataDir: dir})
	require.NoError(t, err)
	require.NoError(t, broker.Cluster().CreateTopic("kept", 2, nil))
	broker.Close()

	again := start(t, Options{DataDir: dir})
	topics, err := kadm.NewClient(client(t, again.Address())).ListTopics(t.Context(), "kept")
	require.NoError(t, err)
	require.Len(t, topics["kept"].Partitions, 2)
}

// Whatever time brings, only retention may delete records: kfake's compaction is unsafe while a
// transaction is open (the test after this one shows it).
func TestRetentionRunsAndCompactionNeverDoes(t *testing.T) {
	ctx := t.Context()
	broker := start(t, Options{retentionEvery: 10 * time.Millisecond})
	cluster := broker.Cluster()
	require.NoError(t, cluster.CreateTopic("old", 1, map[string]string{"retention.ms": "1"}))
	require.NoError(t, cluster.CreateTopic("state", 1, map[string]string{"cleanup.policy": "compact"}))
	c := client(t, broker.Address())
	for _, topic := range []string{"state", "old"} {
		for i := range 10 {
			record := kgo.KeyStringRecord("key", "value "+strconv.Itoa(i))
			record.Topic = topic
			require.NoError(t, c.ProduceSync(ctx, record).FirstErr())
		}
	}
	require.Eventually(t, func() bool { return cluster.PartitionInfo("old", 0).LogStartOffset == 10 }, 10*time.Second, 10*time.Millisecond)
	require.Len(t, values(t, broker.Address(), "state", 10), 10)

	configs, err := kadm.NewClient(c).DescribeBrokerConfigs(ctx, 0)
	require.NoError(t, err)
	for _, c := range configs[0].Configs {
		if c.Key == "log.cleaner.backoff.ms" {
			milliseconds, err := strconv.ParseInt(c.MaybeValue(), 10, 64)
			require.NoError(t, err)
			require.Greater(t, time.Duration(milliseconds)*time.Millisecond, 200*365*24*time.Hour)
			return
		}
	}
	t.Fatal("the broker has no log.cleaner.backoff.ms")
}

// It is why nothing is compacted here. Should this fail one day, kfake has learnt to stop at the
// last stable offset.
func TestCompactionTakesWhatAnOpenTransactionHasWrittenForTheNewest(t *testing.T) {
	ctx := t.Context()
	broker := start(t, Options{})
	require.NoError(t, broker.Cluster().CreateTopic("state", 1, map[string]string{"cleanup.policy": "compact"}))
	c := client(t, broker.Address(), kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("state"))
	write := func(end kgo.TransactionEndTry, whileOpen func(), keys ...string) {
		require.NoError(t, c.BeginTransaction())
		for _, key := range keys {
			require.NoError(t, c.ProduceSync(ctx, kgo.KeyStringRecord(key, key)).FirstErr())
		}
		whileOpen()
		require.NoError(t, c.EndTransaction(ctx, end))
	}
	write(kgo.TryCommit, func() {}, "key")
	write(kgo.TryAbort, broker.Cluster().Compact, "key", "other")
	write(kgo.TryCommit, func() {}, "third")
	require.Equal(t, []string{"third"}, values(t, broker.Address(), "state", 1), "the committed value of key is gone")
}

func TestAbortedRecordsAreNotRead(t *testing.T) {
	ctx := t.Context()
	broker := start(t, Options{DataDir: t.TempDir()})
	require.NoError(t, broker.Cluster().CreateTopic("state", 1, map[string]string{"cleanup.policy": "compact"}))

	producer := client(t, broker.Address(), kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("state"))
	var want []string
	for i := range 10 {
		require.NoError(t, producer.BeginTransaction())
		for range 20 {
			producer.Produce(ctx, kgo.KeyStringRecord("key", "value "+strconv.Itoa(i)), nil)
			if i%2 == 0 {
				want = append(want, "value "+strconv.Itoa(i))
			}
		}
		require.NoError(t, producer.Flush(ctx))
		require.NoError(t, producer.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 0)))
	}
	require.Equal(t, want, values(t, broker.Address(), "state", 100))
}

// child starts the test binary as a broker and returns its address, and how to kill -9 it.
func child(t *testing.T, dir string) (string, func()) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line), kill
}

func TestAcknowledgedRecordsSurviveKill(t *testing.T) {
	const rounds, perRound = 3, 400
	ctx := t.Context()
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range rounds {
		address, kill := child(t, dir)
		c := client(t, address, kgo.ProducerBatchMaxBytes(1000), kgo.AllowIdempotentProduceCancellation())
		if round == 0 {
			_, err := kadm.NewClient(c).CreateTopic(ctx, 4, 1, nil, "orders")
			require.NoError(t, err)
		}
		// The kill comes in the middle of a stream of writes, right after an acknowledgement.
		results := make(chan string, 10*perRound)
		var open sync.WaitGroup
		for i := range 10 * perRound {
			value := fmt.Sprintf("%d/%d", round, i)
			open.Add(1)
			c.Produce(ctx, &kgo.Record{Topic: "orders", Value: []byte(value)}, func(r *kgo.Record, err error) {
				defer open.Done()
				if err == nil {
					results <- string(r.Value)
				}
			})
		}
		for range perRound {
			acked[<-results] = true
		}
		admin := kadm.NewClient(client(t, address))
		offsets := kadm.Offsets{}
		offsets.AddOffset("orders", 0, int64(round+1), -1)
		require.NoError(t, admin.CommitAllOffsets(ctx, "group", offsets))
		kill()
		c.Close()
		open.Wait()
		close(results)
		for value := range results {
			acked[value] = true
		}
	}

	address, _ := child(t, dir)
	found := map[string]bool{}
	admin := kadm.NewClient(client(t, address))
	ends, err := admin.ListEndOffsets(ctx, "orders")
	require.NoError(t, err)
	total := 0
	ends.Each(func(o kadm.ListedOffset) { total += int(o.Offset) })
	for _, value := range values(t, address, "orders", total) {
		found[value] = true
	}
	for value := range acked {
		require.True(t, found[value], "record %s was acknowledged and is gone", value)
	}
	committed, err := admin.FetchOffsets(ctx, "group")
	require.NoError(t, err)
	offset, ok := committed.Lookup("orders", 0)
	require.True(t, ok)
	require.EqualValues(t, rounds, offset.At)
}

// TestHostileClients sends what is not Kafka, or not quite, while an honest client goes on.
func TestHostileClients(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	broker := start(t, Options{})
	require.NoError(t, broker.Cluster().CreateTopic("orders", 1, nil))
	honest := client(t, broker.Address(), kgo.DefaultProduceTopic("orders"))

	rnd := rand.New(rand.NewSource(1))
	garbage := make([]byte, 4096)
	rnd.Read(garbage)
	attacks := map[string][]byte{
		"an unknown API key":               frame(20, 12345, 0, make([]byte, 12)...),
		"an unknown key after a sound one": append(frame(10, kmsg.ApiVersions.Int16(), 0, 255, 255), frame(20, 500, 0, make([]byte, 12)...)...),
		"a frame of four gigabytes":        frame(1<<32-1, kmsg.Metadata.Int16(), 0, garbage...),
		"a frame that never comes":         frame(1<<20, kmsg.Metadata.Int16(), 0),
		"an empty frame":                   make([]byte, 64),
		"HTTP":                             []byte("GET / HTTP/1.1\r\nHost: broker\r\n\r\n"),
		"garbage":                          garbage,
	}
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		attacks[fmt.Sprintf("garbage in a %s request", kmsg.NameForKey(key))] = frame(8+100, key, req.MaxVersion(), garbage[:100]...)
	}
	for name, attack := range attacks {
		conn, err := net.Dial("tcp", broker.Address())
		require.NoError(t, err, name)
		_, err = conn.Write(attack)
		require.NoError(t, err, name)
		if name != "a frame that never comes" {
			_ = conn.(*net.TCPConn).CloseWrite() // the broker may have closed it already
			_, _ = io.Copy(io.Discard, conn)     // until the broker has dealt with it
		}
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, honest.ProduceSync(ctx, kgo.StringRecord(name)).FirstErr(), name)
	}
	require.Len(t, values(t, broker.Address(), "orders", len(attacks)), len(attacks))
}
