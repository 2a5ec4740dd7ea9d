package audit

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/plugins/kafkatransactional"
)

// holding is a pipeline that holds keys and in which orders die whose value is "dead".
const holding = `
http: {enabled: false}
input:
  kafka_transactional:
    seed_brokers: [%s]
    topics: [orders]
    consumer_group: g
    state_topic: state
    ordering: key
    on_dead_letter: hold_key
output:
  switch:
    cases:
      - check: content().string() == "dead"
        output:
          kafka_transactional:
            topic: dlq
            outcome: dead_letter
            headers:
              dlq_topic: ${! @kafka_topic }
              dlq_partition: ${! @kafka_partition }
              dlq_offset: ${! @kafka_offset }
      - output:
          kafka_transactional:
            topic: processed
            headers:
              origin: ${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }
`

func TestOrdersHeldBehindADeadOneAreWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &kfake.VirtualNetwork{}
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(net.Listen))
		require.NoError(t, err)
		defer cluster.Close()
		opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(net.DialContext)}
		cl, err := kgo.NewClient(opts...)
		require.NoError(t, err)
		defer cl.Close()
		compact := "compact"
		for topic, config := range map[string]map[string]*string{"orders": nil, "processed": nil, "dlq": nil, "state": {"cleanup.policy": &compact}} {
			_, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, config, topic)
			require.NoError(t, err)
		}
		send := func(key, value string, headers ...kgo.RecordHeader) {
			require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Key: []byte(key), Value: []byte(value), Headers: headers}).FirstErr())
		}
		redriven := []kgo.RecordHeader{{Key: "dlq_id", Value: []byte("orders/0/0")}, {Key: "dlq_redrives", Value: []byte("1")}}

		env := service.NewEnvironment()
		require.NoError(t, kafkatransactional.Register(env, kgo.Dialer(net.DialContext)))
		b := env.NewStreamBuilder()
		b.SetLogger(slog.New(slog.DiscardHandler))
		require.NoError(t, b.SetYAML(fmt.Sprintf(holding, cluster.ListenAddrs()[0])))
		stream, err := b.Build()
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- stream.Run(t.Context()) }()

		for _, step := range []struct {
			send func()
			want Sums
		}{
			{func() {
				send("a", "dead")
				send("a", "good")
				send("a", "good")
				send("b", "good")
			}, Sums{Orders: 4, Processed: 1, DeadLettered: 1, Waiting: 2}},
			{func() { send("a", "dead", redriven...) }, Sums{Orders: 5, Processed: 1, DeadLettered: 2, Waiting: 2}},
			{func() { send("a", "good", redriven...) }, Sums{Orders: 6, Processed: 4, DeadLettered: 2}},
		} {
			step.send()
			time.Sleep(15 * time.Second)
			report, err := Run(t.Context(), Topics{Orders: "orders", Processed: "processed", DLQ: "dlq", State: "state", Group: "g"}, opts...)
			require.NoError(t, err)
			require.True(t, report.OK)
			require.Equal(t, step.want, report.Sums)
		}
		require.NoError(t, stream.StopWithin(time.Minute))
		<-done
	})
}
