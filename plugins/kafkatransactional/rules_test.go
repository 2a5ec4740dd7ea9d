package kafkatransactional

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// settle is virtual time in which a group forms and the retries of an order pass.
const settle = 15 * time.Second

func TestAStopKeepsWhatWaitsAndARestartGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 300)
		first := w.start(3, "")
		time.Sleep(1500 * time.Millisecond) // the bad ones wait for their second retry
		w.stop(first)
		require.Equal(t, 270, len(w.committed("processed")))

		second := w.start(3, "")
		time.Sleep(settle)
		w.stop(second)
		w.once(300)
	})
}

func TestARejectedBatchIsHandedOutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 200)
		w.reject(0.02, 1)
		r := w.start(1, "batch_size: 20")
		time.Sleep(30 * time.Second)
		w.reject(0, 1)
		time.Sleep(settle)
		w.stop(r)
		w.once(200)
	})
}

func TestFetchingPausesWhileAsManyWaitAsMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var recs []*kgo.Record
		for i := range 500 {
			recs = append(recs, &kgo.Record{Topic: "orders", Partition: int32(i % partitions), Value: fmt.Appendf(nil, "bad-%d", i)})
		}
		require.NoError(t, w.cl.ProduceSync(t.Context(), recs...).FirstErr())
		r := w.start(1, "max_waiting: 50\n    batch_size: 20")
		most := 0
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			waiting := map[string]bool{}
			for _, rec := range w.records("state") {
				if bytes.HasPrefix(rec.Key, []byte("waiting/")) {
					waiting[string(rec.Key)] = rec.Value != nil
				}
			}
			n := 0
			for _, on := range waiting {
				if on {
					n++
				}
			}
			most = max(most, n)
		}
		w.stop(r)
		require.LessOrEqual(t, most, 50)
		require.Positive(t, most)
		w.once(500)
	})
}

// routed is a pipeline with a dead-letter leg, whose topic and sizes the tests vary.
const routed = `
http: {enabled: false}
input:
  kafka_transactional:
    seed_brokers: [%s]
    topics: [orders]
    consumer_group: g
    state_topic: state
    session_timeout: 6s
    client_id: %s
output:
  fallback:
    - kafka_transactional:
        topic: processed
        headers:
          origin: ${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }
    - kafka_transactional:
        topic: late
        outcome: dead_letter
        when_refused: wait
        original_headers: true
        headers:
          origin: ${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }
`

func TestWhatATopicRefusesIsRoutedAloneAndWaitsForATopicThatTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		limit := "2000"
		adm := kadm.NewClient(w.cl)
		_, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, "processed")
		require.NoError(t, err)
		w.produce(0, 30)
		large := &kgo.Record{Topic: "orders", Value: bytes.Repeat([]byte("x"), 3000), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}, {Key: "h", Value: []byte{0xff}}}}
		require.NoError(t, w.cl.ProduceSync(t.Context(), large).FirstErr())

		r := w.run(func(id string) string { return fmt.Sprintf(routed, strings.Join(w.cluster.ListenAddrs(), ","), id) })
		time.Sleep(settle)
		require.Len(t, w.committed("processed"), 30, "the others are not held up")

		_, err = adm.CreateTopic(t.Context(), 1, 1, nil, "late")
		require.NoError(t, err)
		time.Sleep(2 * time.Minute) // the pause between tries has grown
		w.stop(r)
		late := w.records("late")
		require.Len(t, late, 1)
		require.Equal(t, large.Value, late[0].Value)
		require.Nil(t, late[0].Key)
		require.Equal(t, large.Headers, late[0].Headers[:3])
	})
}

// values are those of the processed records.
func (w *world) values() []string {
	var all []string
	for _, rec := range w.records("processed") {
		all = append(all, string(rec.Value))
	}
	return all
}

func TestLaterOrdersOfAKeyWaitBehindOneThatWaits(t *testing.T) {
	for ordering, free := range map[string][]string{orderingKey: {"good-3"}, orderingPartition: nil} {
		t.Run(ordering, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				send := func(key, value string) {
					require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Partition: 1, Key: []byte(key), Value: []byte(value)}).FirstErr())
				}
				send("a", "bad-1")
				send("a", "good-2")
				send("b", "good-3")
				send("a", "good-4")
				r := w.start(2, "ordering: "+ordering)
				time.Sleep(1800 * time.Millisecond) // its third attempt is after 2 s
				require.Equal(t, free, w.values(), "of another key")
				w.stop(r) // the order of a queue survives a restart
				r = w.start(2, "ordering: "+ordering)
				time.Sleep(settle)
				w.stop(r)
				require.Equal(t, []string{"bad-1", "good-2", "good-4"}, slices.DeleteFunc(w.values(), func(v string) bool { return v == "good-3" }))
				w.once(4)
			})
		})
	}
}

// The client lists a partition as its own a moment after the state was restored, and tells
// nobody. If no record came, what is due would wait for a minute.
func TestWhatIsDueInAPartitionThatIsNotListedYetIsLookedAtSoon(t *testing.T) {
	cl, err := kgo.NewClient() // of no group: it lists nothing
	require.NoError(t, err)
	defer cl.Close()
	tp := topicPartition{"orders", 0}
	now := time.Now()
	for due, want := range map[time.Time]time.Time{
		{}:                   now.Add(listPatience), // it was held
		now.Add(-time.Hour):  now.Add(listPatience),
		now.Add(time.Minute): now.Add(time.Minute),
	} {
		p := newPartition(tp, Ledger{}, ordering{by: orderingNone})
		p.hold(&waiting{rec: &kgo.Record{}, due: due})
		client := &client{cl: cl, parts: map[topicPartition]*partition{tp: p}, conf: &config{batchSize: 1}}
		b, next, err := client.takeDue(now, 1000)
		require.NoError(t, err)
		require.Nil(t, b)
		require.Equal(t, want, next)
	}
}

func TestWhereToBeginIsDecidedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90) // before the group's first start
		r := w.start(0, "start_offset: latest")
		time.Sleep(settle)
		w.stop(r)
		w.produce(90, 30) // between its first start and its second
		r = w.start(0, "start_offset: latest")
		time.Sleep(settle)
		w.stop(r)
		w.once(30)
	})
}

func TestAStartThatCannotWorkSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*kadm.Client) error
		fields  string
		want    string
	}{
		"no state topic": {nil, "", `state topic "other" does not exist: create it with cleanup.policy=compact and as many partitions as [orders]`},
		"a state not compacted": {func(a *kadm.Client) error {
			_, err := a.CreateTopic(context.Background(), partitions, 1, nil, "other")
			return err
		}, "", `state topic "other" is not compacted: set its cleanup.policy to compact`},
		"too few partitions": {func(a *kadm.Client) error {
			c := "compact"
			_, err := a.CreateTopic(context.Background(), 1, 1, map[string]*string{"cleanup.policy": &c}, "other")
			return err
		}, "", `state topic "other" has 1 partitions, but topic "orders" has 3: it needs as many`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				if c.prepare != nil {
					require.NoError(t, c.prepare(kadm.NewClient(w.cl)))
				}
				conf, err := inputSpec().ParseYAML(fmt.Sprintf("seed_brokers: [%q]\ntopics: [orders]\nconsumer_group: g\nstate_topic: other\n", w.cluster.ListenAddrs()[0]), service.NewEnvironment())
				require.NoError(t, err)
				in, err := newInput(conf, service.MockResources(), []kgo.Opt{kgo.Dialer(w.net.DialContext)})
				require.NoError(t, err)
				require.EqualError(t, in.Connect(t.Context()), c.want)
			})
		})
	}
}

func TestConfigurationErrorsNameTheField(t *testing.T) {
	const base = "seed_brokers: [b:1]\ntopics: [orders]\nconsumer_group: g\nstate_topic: state\n"
	for _, c := range []struct{ yaml, want string }{
		{"seed_brokers: []\ntopics: [orders]\nconsumer_group: g\nstate_topic: state\n", "field seed_brokers: is empty"},
		{"seed_brokers: [b:1]\ntopics: ['']\nconsumer_group: g\nstate_topic: state\n", "field topics: is empty"},
		{"seed_brokers: [b:1]\ntopics: [orders]\nconsumer_group: ''\nstate_topic: state\n", "field consumer_group: is empty"},
		{"seed_brokers: [b:1]\ntopics: [orders]\nconsumer_group: g\nstate_topic: orders\n", `field state_topic: "orders" is also one of topics: the state needs a topic of its own`},
		{base + "commit_interval: 1ms", "field commit_interval: 1ms is out of range: from 10ms to 1m0s"},
		{base + "commit_interval: 20s", "field transaction_timeout: 10s is too short: it must be longer than commit_interval, which is 20s"},
		{base + "max_waiting: 0", "field max_waiting: 0 is out of range: from 1 to 100000000"},
		{base + "on_dead_letter: hold_key", "field on_dead_letter: hold_key needs ordering: key, not none"},
		{base + "ordering: partition\non_dead_letter: hold_key", "field on_dead_letter: hold_key needs ordering: key, not partition"},
		{base + "batch_size: -1", "field batch_size: -1 is out of range: from 1 to 100000"},
	} {
		conf, err := inputSpec().ParseYAML(c.yaml, nil)
		require.NoError(t, err, c.yaml)
		_, err = newInput(conf, service.MockResources(), nil)
		require.EqualError(t, err, c.want, c.yaml)
	}
}

func TestAnOutputNeedsItsInput(t *testing.T) {
	res := service.MockResources()
	parse := func(yaml string) error {
		conf, err := outputSpec().ParseYAML(yaml, nil)
		require.NoError(t, err)
		_, _, err = parseOutput(conf, res)
		return err
	}
	require.EqualError(t, parse("topic: t"), "output kafka_transactional needs an input kafka_transactional in the same stream: it writes in that input's transaction")

	conf, err := inputSpec().ParseYAML("seed_brokers: [b:1]\ntopics: [orders]\nconsumer_group: g\nstate_topic: state\n", nil)
	require.NoError(t, err)
	_, err = newInput(conf, res, nil)
	require.NoError(t, err)
	require.NoError(t, parse("topic: t"))
	require.EqualError(t, parse("topic: t\ncompression: zstd"), `field compression: "zstd" differs from "snappy" of another kafka_transactional output in the stream: they share one client`)
	require.EqualError(t, parse("topic: orders"), `field topic: "orders" is one of the topics of the input: what is written there would be read again`)
	require.EqualError(t, parse("topic: state"), `field topic: "state" is the state_topic of the input: the state needs a topic of its own`)
	require.EqualError(t, parse("topic: t\noutcome: dead_letter"), `field topic: "t" has processed messages and dead letters: each outcome needs a topic of its own`)
	require.EqualError(t, parse("topic: t\npartitioner: manual"), "field partition: is needed with partitioner manual, and only then")
	_, err = newInput(conf, res, nil)
	require.ErrorContains(t, err, "a stream can have one kafka_transactional input only")
}

// At a soft stop the host may drop a batch that the input has returned, without an answer.
func TestABatchThatTheHostDropsAtAStopIsHandedOutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90)
		conf, err := inputSpec().ParseYAML(fmt.Sprintf("seed_brokers: [%q]\ntopics: [orders]\nconsumer_group: g\nstate_topic: state\n", w.cluster.ListenAddrs()[0]), nil)
		require.NoError(t, err)
		in, err := newInput(conf, service.MockResources(), []kgo.Opt{kgo.Dialer(w.net.DialContext)})
		require.NoError(t, err)
		require.NoError(t, in.Connect(t.Context()))
		msgs, _, err := in.ReadBatch(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, msgs)
		require.NoError(t, in.Close(t.Context()))

		r := w.start(0, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(90)
	})
}
