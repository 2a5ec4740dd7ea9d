package demo

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/test/hostile"
)

func orderAt(offset int64) *kgo.Record {
	return &kgo.Record{Topic: names.Orders, Partition: int32(offset % 3), Offset: offset}
}

func originOf(offset int64) string { return fmt.Sprintf("orders/%d/%d", offset%3, offset) }

func processedOrder(origin string) *kgo.Record {
	return &kgo.Record{Topic: names.Processed, Headers: []kgo.RecordHeader{{Key: "origin", Value: []byte(origin)}}}
}

func deadLetter(origin string) *kgo.Record {
	return &kgo.Record{Topic: names.DeadLetters, Headers: []kgo.RecordHeader{{Key: "other"}, {Key: "dlq_id", Value: []byte(origin)}}}
}

func TestBalance(t *testing.T) {
	tests := map[string]struct {
		records []*kgo.Record
		want    Balance
		holds   bool
	}{
		"nothing happened": {nil, Balance{}, true},
		"each order has its outcome": {
			[]*kgo.Record{orderAt(1), orderAt(2), processedOrder(originOf(1)), deadLetter(originOf(2))},
			Balance{In: 2, Processed: 1, DeadLettered: 1}, true,
		},
		"the outcome may be read before the order": {
			[]*kgo.Record{processedOrder(originOf(1)), orderAt(1)},
			Balance{In: 1, Processed: 1}, true,
		},
		"an order without an outcome": {
			[]*kgo.Record{orderAt(1), orderAt(2), processedOrder(originOf(2))},
			Balance{In: 2, Processed: 1, Missing: []string{originOf(1)}}, false,
		},
		"an order that was processed twice": {
			[]*kgo.Record{orderAt(1), processedOrder(originOf(1)), processedOrder(originOf(1))},
			Balance{In: 1, Processed: 1, Repeated: []string{originOf(1)}}, false,
		},
		"an order that was processed and dead-lettered, and one that was lost": {
			[]*kgo.Record{orderAt(1), orderAt(2), processedOrder(originOf(1)), deadLetter(originOf(1))},
			Balance{In: 2, Processed: 1, DeadLettered: 1, Missing: []string{originOf(2)}, Repeated: []string{originOf(1)}}, false,
		},
		"an outcome of no order, and one that names none": {
			[]*kgo.Record{processedOrder("orders/9/9"), {Topic: names.DeadLetters}},
			Balance{Processed: 1, DeadLettered: 1, Strange: []string{"", "orders/9/9"}}, false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := NewLedger(names)
			for _, r := range test.records {
				l.Observe(r)
			}
			got := l.Balance()
			if len(got.Strange) == 0 {
				got.Strange = nil
			}
			require.Equal(t, test.want, got)
			require.Equal(t, test.holds, got.Holds())
		})
	}
}

// A balance that holds is broken by each single fault.
func TestOneFaultBreaksTheBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 50).Draw(t, "orders")
		var records []*kgo.Record
		for i := range n {
			records = append(records, orderAt(i))
			if rapid.Bool().Draw(t, "dead") {
				records = append(records, deadLetter(originOf(i)))
			} else {
				records = append(records, processedOrder(originOf(i)))
			}
		}
		records = rapid.Permutation(records).Draw(t, "read")
		balance := func(records []*kgo.Record) Balance {
			l := NewLedger(names)
			for _, r := range records {
				l.Observe(r)
			}
			return l.Balance()
		}
		require.True(t, balance(records).Holds())
		require.NoError(t, verdict(balance(records), int(n)))
		require.Error(t, verdict(balance(records), int(n)+1), "an order that never came in")

		at := rapid.IntRange(0, len(records)-1).Draw(t, "fault at")
		require.False(t, balance(append(records[:at:at], records[at+1:]...)).Holds(), "a record is lost")
		victim := records[at]
		if victim.Topic != names.Orders {
			require.False(t, balance(append(records[:len(records):len(records)], victim)).Holds(), "an outcome is repeated")
		}
	})
}

func TestReachedCountsControlRecords(t *testing.T) {
	l := NewLedger(names)
	require.True(t, l.Reached("orders", 0, 0), "there is nothing to read")
	require.False(t, l.Reached("orders", 0, 1))
	l.Observe(&kgo.Record{Topic: "orders", Offset: 0})
	// The marker at the end of a transaction is a record that nobody counts.
	l.Observe(control("orders", 1))
	require.True(t, l.Reached("orders", 0, 2))
	require.False(t, l.Reached("orders", 1, 1))
	require.Equal(t, 1, l.Balance().In)
}

// control is a control record; its attributes can only be had by way of the protocol.
func control(topic string, offset int64) *kgo.Record {
	record := kmsg.NewRecord()
	batch := kmsg.NewRecordBatch()
	raw := record.AppendTo(nil)
	record.Length = int32(len(raw) - 1)
	batch.Magic, batch.FirstOffset, batch.NumRecords, batch.Attributes = 2, offset, 1, 0b11_0000
	batch.Records = record.AppendTo(nil)
	batch.Length = int32(len(batch.AppendTo(nil)) - 12)
	partition := kmsg.NewFetchResponseTopicPartition()
	partition.RecordBatches = batch.AppendTo(nil)
	partition.HighWatermark, partition.LastStableOffset = offset+1, offset+1
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Topic: topic, KeepControlRecords: true, DisableCRCValidation: true, Offset: offset,
	}, &partition, kgo.DefaultDecompressor(), nil)
	return got.Records[0]
}

func TestPrintBalance(t *testing.T) {
	tests := map[string]struct {
		balance Balance
		want    string
	}{
		"it holds": {Balance{In: 50, Processed: 43, DeadLettered: 7}, "in 50 = processed 43 + dead-lettered 7: holds\n"},
		"it does not": {
			Balance{In: 7, Processed: 0, DeadLettered: 1, Missing: []string{"a", "b", "c", "d", "e", "f"}, Strange: []string{"x"}},
			"in 7 = processed 0 + dead-lettered 1: does NOT hold\n" +
				"orders without an outcome: 6 (a, b, c, d, e, …)\n" +
				"outcomes of no order: 1 (x)\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			printBalance(&out, test.balance)
			require.Equal(t, "\n== Check, from the broker alone\n"+test.want, out.String())
		})
	}
}

func TestNothingMovesTheCursor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := hostile.Text()
		r := &kgo.Record{Topic: "orders-dlq", Key: []byte(text.Draw(t, "key")), Headers: []kgo.RecordHeader{{Key: text.Draw(t, "name"), Value: []byte(text.Draw(t, "value"))}}}
		var out bytes.Buffer
		printDeadLetter(&out, r)
		hostile.Check(t, out.String())
		require.Equal(t, 5, strings.Count(out.String(), "\n"), out.String())
		out.Reset()
		printBalance(&out, Balance{Strange: []string{text.Draw(t, "origin")}})
		hostile.Check(t, out.String())
		require.Equal(t, 4, strings.Count(out.String(), "\n"), out.String())
	})
}

func TestPrintDeadLetter(t *testing.T) {
	var out bytes.Buffer
	printDeadLetter(&out, nil)
	require.Empty(t, out.String())
	printDeadLetter(&out, &kgo.Record{Topic: "orders-dlq", Value: []byte("12345"), Headers: []kgo.RecordHeader{
		{Key: "trace", Value: []byte{0xff, 0}}, {Key: "dlq_error", Value: []byte("Max retries exceeded: Größe")}, {Key: "dlq_id", Value: []byte("orders/0/1")}, {Key: "none"}}})
	require.Equal(t, `
== A dead letter, as it is on orders-dlq
key                  (null)
value                5 bytes, as the order came
dlq_id               orders/0/1
dlq_error            Max retries exceeded: Größe
trace                "\xff\x00"
none                 (null)
`, out.String())
}
