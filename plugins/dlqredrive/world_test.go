package dlqredrive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/test/link"
)

// world is a broker with a dead-letter topic, in virtual time.
type world struct {
	t       *testing.T
	net     *kfake.VirtualNetwork
	cluster *kfake.Cluster
	opts    []kgo.Opt
	cl      *kgo.Client
}

const partitions = 3

func newWorld(t *testing.T) *world {
	w := &world{t: t, net: &kfake.VirtualNetwork{}}
	var err error
	w.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(w.net.Listen))
	require.NoError(t, err)
	w.opts = []kgo.Opt{kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext)}
	w.cl, err = kgo.NewClient(append(w.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	for _, topic := range []string{"orders", "dlq"} {
		_, err := kadm.NewClient(w.cl).CreateTopic(t.Context(), partitions, 1, nil, topic)
		require.NoError(t, err)
	}
	return w
}

func (w *world) close() {
	w.cl.Close()
	w.cluster.Close()
}

// letters writes n dead letters: values of JSON, prices from -n to -1, origins in `orders`.
func (w *world) letters(n int, headers ...kgo.RecordHeader) {
	w.t.Helper()
	var recs []*kgo.Record
	for i := range n {
		recs = append(recs, &kgo.Record{
			Topic: "dlq", Partition: int32(i % partitions), Key: fmt.Appendf(nil, "k%d", i),
			Value: fmt.Appendf(nil, `{"orderId":"o-%d","product":"Pen","price":%d}`, i, i-n),
			Headers: append([]kgo.RecordHeader{
				{Key: "trace", Value: []byte("a")}, {Key: "trace", Value: []byte("b")}, {Key: "nothing"},
				{Key: "dlq_id", Value: fmt.Appendf(nil, "orders/0/%d", i)}, {Key: "dlq_code", Value: []byte("price_not_positive")},
				{Key: "dlq_topic", Value: []byte("orders")}, {Key: "dlq_partition", Value: []byte("0")},
				{Key: "dlq_offset", Value: fmt.Appendf(nil, "%d", i)}, {Key: "dlq_redrives", Value: []byte("0")},
			}, headers...),
		})
	}
	require.NoError(w.t, w.cl.ProduceSync(w.t.Context(), recs...).FirstErr())
}

// formerLetters is from where marks are of letters that are gone.
const formerLetters = 1000

// redriven marks the orders at the first n offsets of orders/0 as sent again so often.
func (w *world) redriven(n, redrives int) {
	w.t.Helper()
	for i := range n {
		w.mark(redrive.Place{Topic: "dlq", Partition: int32(i % partitions), Offset: formerLetters + int64(i)}, redrive.Mark{
			Action: redrive.Redriven, ID: fmt.Sprintf("orders/0/%d", i), Target: "orders", SentAs: fmt.Sprintf("orders/0/%d", i), Redrives: redrives})
	}
}

func (w *world) mark(p redrive.Place, m redrive.Mark) {
	w.t.Helper()
	_, err := kadm.NewClient(w.cl).CreateTopic(w.t.Context(), partitions, 1, nil, "dlq-redrives")
	if !errors.Is(err, kerr.TopicAlreadyExists) {
		require.NoError(w.t, err)
	}
	value, err := json.Marshal(m)
	require.NoError(w.t, err)
	require.NoError(w.t, w.cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: "dlq-redrives", Partition: p.Partition, Key: p.Key(), Value: value}).FirstErr())
}

// records reads all that is committed in a topic.
func (w *world) records(topic string) []*kgo.Record {
	w.t.Helper()
	ranges, err := committed.All(w.t.Context(), kadm.NewClient(w.cl), topic)
	require.NoError(w.t, err)
	var recs []*kgo.Record
	_, err = committed.Read(w.t.Context(), w.opts, topic, ranges, func(r *kgo.Record) error {
		recs = append(recs, r)
		return nil
	})
	require.NoError(w.t, err)
	return recs
}

// marks returns the marks and the audit records that are committed, the latest of each key.
func (w *world) marks() (map[redrive.Place]redrive.Mark, map[string]redrive.Run) {
	w.t.Helper()
	marks, runs := map[redrive.Place]redrive.Mark{}, map[string]redrive.Run{}
	for _, rec := range w.records("dlq-redrives") {
		if p, m, ok, err := redrive.ParseMark(rec.Key, rec.Value); ok {
			require.NoError(w.t, err)
			require.NotContains(w.t, marks, p, "marked twice")
			marks[p] = m
		} else {
			run, ok, err := redrive.ParseRun(rec.Key, rec.Value)
			require.NoError(w.t, err)
			require.True(w.t, ok)
			runs[run.ID] = run
		}
	}
	return marks, runs
}

type running struct {
	watch  *Watch
	stream *service.Stream
	done   chan error
	link   *link.Link
	log    *journal
}

// journal keeps the lines of the log that tell of errors. With -v all are shown.
type journal struct {
	mu     sync.Mutex
	errors []string
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if bytes.Contains(line, []byte("level=ERROR")) {
		j.errors = append(j.errors, string(line))
	}
	if testing.Verbose() {
		os.Stderr.Write(line)
	}
	return len(line), nil
}

func (j *journal) complaints() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.errors)
}

// start runs a redrive with the given fields of input, processor and output.
func (w *world) start(in, proc, out string) *running {
	w.t.Helper()
	watch := &Watch{}
	env := service.NewEnvironment()
	if !strings.HasPrefix(proc, "decode: ") {
		proc = "decode: [{mapping: root = this}]\n        " + proc
	}
	way := link.New(w.net)
	require.NoError(w.t, Register(env, watch, kgo.Dialer(way.Dial)))
	b := env.NewStreamBuilder()
	log := &journal{}
	b.SetLogger(slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(w.t, b.SetYAML(fmt.Sprintf(`
http: {enabled: false}
input:
  dlq_redrive:
    seed_brokers: [%q]
    topic: dlq
    %s
pipeline:
  threads: 2
  processors:
    - dlq_redrive:
        %s
output:
  dlq_redrive:
    %s
`, strings.Join(w.cluster.ListenAddrs(), ","), in, proc, cmp.Or(out, "max_redrives: 3"))))
	s, err := b.Build()
	require.NoError(w.t, err)
	r := &running{watch: watch, stream: s, done: make(chan error, 1), link: way, log: log}
	go func() { r.done <- s.Run(context.Background()) }()
	return r
}

// run runs a redrive to its end.
func (w *world) run(in, proc, out string) Report {
	w.t.Helper()
	r := w.start(in, proc, out)
	require.NoError(w.t, <-r.done)
	require.NoError(w.t, r.watch.Err())
	return r.watch.Report()
}

func header(r *kgo.Record, name string) []string {
	var all []string
	for _, h := range r.Headers {
		if h.Key == name {
			all = append(all, string(h.Value))
		}
	}
	return all
}

func inBubble(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		fn(t, w)
	})
}
