package kafkatransactional

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// says returns how often something was logged.
func (j *journal) says(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

// While a join is refused nothing is polled, and what is not polled was not told either.
func TestWhoMayNotJoinTheGroupSaysSoAndGoesOnOnceItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90)
		denied := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.GroupAuthorizationFailed, Count: -1})
		r := w.start(1, "")
		time.Sleep(time.Minute)
		told := w.log.says("Not a member of group g, joining again: GROUP_AUTHORIZATION_FAILED")
		require.Greater(t, told, 60/6, "once for each try, and there are 5 s at most in between")
		require.Less(t, told, 60)
		denied.Remove()
		time.Sleep(settle)
		w.stop(r)
		w.once(90)
	})
}

// The broker answers such a fetch at once.
func TestATopicThatMayNotBeReadIsNotAskedForWithoutAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		r := w.start(1, "")
		time.Sleep(settle)
		denied := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "orders", Err: kerr.TopicAuthorizationFailed, Count: -1})
		w.produce(0, 90)
		time.Sleep(20 * time.Second)
		require.Less(t, int(denied.Hits()), 20*5*3, "five a second, and as many as there are partitions")
		require.InDelta(t, 20, w.log.says("Fetching: TOPIC_AUTHORIZATION_FAILED"), 3)
		denied.Remove()
		time.Sleep(settle)
		w.stop(r)
		w.once(90)
	})
}

func TestATopicThatMayNotBeSeenIsNamed(t *testing.T) {
	for _, topic := range []string{"orders", "state", "processed"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.close()
			w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Err: kerr.TopicAuthorizationFailed, Count: -1})
			res := service.MockResources()
			in := w.disconnected(res)
			out, err := outputSpec().ParseYAML("topic: processed", nil)
			require.NoError(t, err)
			_, _, err = parseOutput(out, res)
			require.NoError(t, err)
			require.ErrorContains(t, in.Connect(t.Context()), "looking for topic "+topic+": TOPIC_AUTHORIZATION_FAILED")
		})
	}
}

func TestWhatATopicTakesIsAGuessWhereItsConfigurationMayNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.limit("2000000", "dlq")
		l := newLimits(kadm.NewClient(w.cl), "state")
		large := &kgo.Record{Topic: "dlq", Value: make([]byte, 1_001_000)}
		denied := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		require.EqualError(t, l.check(t.Context(), large), `record of 1001072 bytes is too large for topic "dlq", whose configuration may not be read: its max.message.bytes is taken for 1000012`)
		denied.Remove()
		time.Sleep(2 * time.Second) // it is asked at most once a second
		require.NoError(t, l.check(t.Context(), large))
	})
}

// A topic that is named by the message is known only when it is written.
func TestNobodyButTheInputWritesToTheStateTopic(t *testing.T) {
	require.EqualError(t, newLimits(nil, "state").check(t.Context(), &kgo.Record{Topic: "state"}), `topic "state" is the state_topic`)
}
