package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/oracle"
)

// An outage that lasts longer than all retries, in which the process is restarted, sends nothing
// to the dead letters; when it is over, all orders are processed.
func TestAnOutageFillsNoDeadLetterTopic(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*child.Process){
		"SIGTERM": func(p *child.Process) { require.NoError(t, p.Terminate(patience)) },
		"kill -9": (*child.Process).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			var records []*kgo.Record
			for i := range 100 {
				id := fmt.Sprintf("outage-%03d", i)
				records = append(records, &kgo.Record{Topic: "orders", Key: []byte(id), Value: avro(id, "Pen", 1.5), Partition: int32(i % 6)})
			}
			w.produce(records...)
			away := map[string]string{"FAILURE_RATE": "1", "INSTANCE_ID": "consumer-0"}
			p := w.run(consumer, away)
			awaitLog(t, p, "This looks like an outage: ")
			<-time.After(10 * time.Second) // all retries would have been used up after 7
			end(p)

			p = w.run(consumer, away)
			awaitLog(t, p, "Orders were held because of an outage: ")
			<-time.After(3 * time.Second) // some probes
			require.Empty(t, w.committed("orders-dlq"))
			require.Empty(t, w.committed("orders-processed"))
			require.Positive(t, w.audit().Waiting)
			end(p)

			p = w.run(consumer, map[string]string{"FAILURE_RATE": "0", "INSTANCE_ID": "consumer-0"})
			report := w.await(oracle.Config{}, 100)
			require.NoError(t, report.ExactlyOnce())
			require.Empty(t, report.Classes, "dead letters")
			awaitLog(t, p, "The outage is over after ")
			require.NoError(t, p.Terminate(patience))
			found := w.audit()
			require.True(t, found.OK)
			require.EqualValues(t, 100, found.Processed)
		})
	}
}
