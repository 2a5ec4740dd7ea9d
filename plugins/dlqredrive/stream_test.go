package dlqredrive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/redrive"
)

func TestEachOpenLetterIsSentOnceAndMarked(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(1000)
		got := w.run("batch_size: 100", "", "")
		require.EqualValues(t, 1000, got.Sent)
		require.EqualValues(t, 0, got.LeftOpen)

		sent := w.records("orders")
		require.Len(t, sent, 1000)
		letters := map[string]*kgo.Record{}
		for _, l := range w.records("dlq") {
			letters[string(l.Key)] = l
		}
		for _, r := range sent {
			l := letters[string(r.Key)]
			delete(letters, string(r.Key))
			require.NotNil(t, l, "sent twice")
			require.Equal(t, l.Value, r.Value)
			require.Equal(t, []kgo.RecordHeader{
				{Key: "trace", Value: []byte("a")}, {Key: "trace", Value: []byte("b")}, {Key: "nothing"},
				{Key: "dlq_id", Value: l.Headers[3].Value}, {Key: "dlq_redrives", Value: []byte("1")},
			}, r.Headers)
		}
		marks, runs := w.marks()
		require.Len(t, marks, 1000)
		require.Len(t, runs, 1)
		require.Equal(t, got.Run, runs[got.ID])
		require.False(t, got.Ended.IsZero())
		require.NotEmpty(t, got.By)

		require.Equal(t, [2]int64{1000, 1000}, [2]int64{got.Passed, got.Total})

		again := w.run("", "", "")
		require.Equal(t, redrive.Counts{}, again.Counts, "nothing is open any more")
		require.Len(t, w.records("orders"), 1000)
	})
}

func TestALetterWhoseMarkIsTakenBackIsOpenAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(3)
		w.run("", "", "")
		for _, r := range w.records("dlq-redrives") {
			if string(r.Key) == "mark/dlq/1/0" {
				require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key}).FirstErr())
			}
		}
		require.Equal(t, redrive.Counts{Matched: 1, Sent: 1}, w.run("", "", "").Counts)
	})
}

// The letters of a topic that was made again are at the places of others that were sent.
func TestMarksOfAFormerTopicCountNoMore(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(9)
		require.EqualValues(t, 9, w.run("", "", "").Sent)
		adm := kadm.NewClient(w.cl)
		_, err := adm.DeleteTopic(t.Context(), "dlq")
		require.NoError(t, err)
		_, err = adm.CreateTopic(t.Context(), partitions, 1, nil, "dlq")
		require.NoError(t, err)
		w.cl.PurgeTopicsFromClient("dlq")
		w.letters(6)
		require.Equal(t, redrive.Counts{Matched: 6, Sent: 6}, w.run("dry_run: true", "", "").Counts)
		require.Equal(t, redrive.Counts{Matched: 4, Sent: 4, LeftOpen: 2}, w.run("", "limit: 4", "").Counts)
		require.Equal(t, redrive.Counts{Matched: 2, Sent: 2}, w.run("", "", "").Counts, "its own marks do")
		require.Equal(t, redrive.Counts{}, w.run("", "", "").Counts)
		require.Len(t, w.records("orders"), 9+6)
	})
}

// By the hash of its key it would often go elsewhere.
func TestAnOrderIsSentToThePartitionThatItCameFrom(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		_, err := kadm.NewClient(w.cl).CreateTopic(t.Context(), 2, 1, nil, "other")
		require.NoError(t, err)
		w.letters(30, kgo.RecordHeader{Key: "dlq_partition", Value: []byte("2")})
		require.EqualValues(t, 10, w.run("", "limit: 10", "").Sent)
		for _, r := range w.records("orders") {
			require.EqualValues(t, 2, r.Partition)
		}
		require.EqualValues(t, 20, w.run("", "", "target: other\n    allow_other_target: true").Sent)
		used := map[int32]bool{}
		for _, r := range w.records("other") {
			used[r.Partition] = true
		}
		require.Len(t, used, 2, "the key decides where there is no origin")
		used = map[int32]bool{}
		for _, r := range w.records("dlq-redrives") {
			used[r.Partition] = true
		}
		require.Len(t, used, partitions)
	})
}

func TestAFilterChoosesAndTheOthersStayOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(100)
		got := w.run("", `where: 'this.price >= -10 && @dlq_code == "price_not_positive" && @kafka_partition == 0'`, "")
		require.Equal(t, redrive.Counts{Matched: 4, Sent: 4, LeftOpen: 96}, got.Counts)
		got = w.run("", `ids: [ "orders/0/7, orders/0/8", "dlq/0/3", "orders/9/9" ]`, "")
		require.Equal(t, redrive.Counts{Matched: 3, Sent: 3, LeftOpen: 93}, got.Counts)
		got = w.run("", `where: this.nothing > 3`, "")
		require.Equal(t, redrive.Counts{LeftOpen: 93}, got.Counts)
		require.EqualValues(t, 93, got.Unfiltered.Letters)
		require.Contains(t, got.Unfiltered.Error, "this.nothing")
		got = w.run("", `where: '"true"'`, "")
		require.Equal(t, redrive.Counts{LeftOpen: 93}, got.Counts, "a text is no yes, as in dlq list")
		require.EqualValues(t, 93, got.Unfiltered.Letters)
	})
}

func TestAMappingMendsAndWhatItCannotMendStaysOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(10)
		got := w.run("", `
        map: |
          root.price = if this.price == -1 { throw("no") } else if this.price == -2 { deleted() } else { this.price.abs() }
          root = if this.price == -3 { deleted() }
        encode:
          - mapping: root = if this.price == 4 || !this.exists("price") { throw("bad") } else { this }`, "")
		require.Equal(t, redrive.Counts{Matched: 10, Sent: 6, LeftOpen: 4, Refused: map[string]int64{
			"map_failed": 1, "map_deleted": 1, "unclassified": 2,
		}}, got.Counts)
		for _, r := range w.records("orders") {
			var order struct{ Price float64 }
			require.NoError(t, json.Unmarshal(r.Value, &order))
			require.GreaterOrEqual(t, order.Price, 5.0)
		}
	})
}

func TestAMendedOrderLosesTheSchemaOfItsFormerBytes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		schema := kgo.RecordHeader{Key: "__value_schema_id", Value: []byte("\x00\x00\x00\x00\x07")}
		w.letters(2, schema)
		require.EqualValues(t, 1, w.run("", `ids: ["orders/0/0"]`, "").Counts.Sent)
		require.EqualValues(t, 1, w.run("", "map: root.price = 5", "").Counts.Sent)
		kept := map[string]bool{}
		for _, r := range w.records("orders") {
			kept[string(r.Key)] = slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool {
				return h.Key == schema.Key && bytes.Equal(h.Value, schema.Value)
			})
		}
		require.Equal(t, map[string]bool{"k0": true, "k1": false}, kept)
	})
}

func TestWhatCannotBeDecodedCanBeChosen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(2)
		require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "dlq", Value: []byte{0xff, 0}, Headers: []kgo.RecordHeader{{Key: "dlq_topic", Value: []byte("orders")}}},
			&kgo.Record{Topic: "dlq", Headers: []kgo.RecordHeader{{Key: "dlq_topic", Value: []byte("orders")}}}).FirstErr())
		got := w.run("", "where: this == null", "")
		require.Equal(t, redrive.Counts{Matched: 2, Sent: 2, LeftOpen: 2}, got.Counts)
		require.EqualValues(t, 2, got.Undecoded.Letters)
		sent := w.records("orders")
		require.Len(t, sent, 2)
		require.Equal(t, []byte{0xff, 0}, sent[0].Value)
		require.Nil(t, sent[0].Key)
		require.Nil(t, sent[1].Value)
		require.Equal(t, []string{"dlq/0/1"}, header(sent[0], "dlq_id"), "it is known by its place")
	})
}

func TestWhatWasRedrivenTooOftenIsParked(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(4, kgo.RecordHeader{Key: "dlq_redrives", Value: []byte("2")})
		w.redriven(4, 2)
		require.Equal(t, redrive.Counts{Matched: 4, Parked: 4}, w.run("", "map: root = deleted()", "max_redrives: 2").Counts)
		require.Empty(t, w.records("orders"))
		parked, letters := w.records("dlq-parking"), w.records("dlq")
		require.Len(t, parked, 4)
		for _, p := range parked {
			var same int
			for _, l := range letters {
				if string(l.Key) == string(p.Key) {
					require.Equal(t, l.Headers, p.Headers)
					require.Equal(t, l.Value, p.Value)
					same++
				}
			}
			require.Equal(t, 1, same)
		}
		marks, _ := w.marks()
		require.Len(t, marks, 8)
		for p, m := range marks {
			if p.Offset >= formerLetters {
				continue
			}
			require.Equal(t, redrive.Parked, m.Action)
			require.Equal(t, "dlq-parking", m.Target)
		}
	})
}

// Who writes an order can give it these headers, and its dead letter keeps them.
func TestWhatOnlySaysThatItWasRedrivenIsNotBelieved(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(4, kgo.RecordHeader{Key: "dlq_redrives", Value: []byte("3")}, kgo.RecordHeader{Key: "dlq_id", Value: []byte("orders/2/99")})
		require.Equal(t, redrive.Counts{Matched: 1, Sent: 1, LeftOpen: 3}, w.run("dry_run: true", "ids: [ orders/0/1 ]", "").Counts)
		require.Equal(t, redrive.Counts{LeftOpen: 4}, w.run("dry_run: true", "ids: [ orders/2/99 ]", "").Counts)
		require.Equal(t, redrive.Counts{Matched: 4, Sent: 4}, w.run("", `where: '@dlq_redrives == "0" && @dlq_id.has_prefix("orders/0/")'`, "").Counts)
		marks, _ := w.marks()
		require.Len(t, marks, 4)
		ids := map[string]string{}
		for _, m := range marks {
			require.Equal(t, redrive.Redriven, m.Action)
			require.Equal(t, 1, m.Redrives)
			ids[m.SentAs] = m.ID
		}
		require.Len(t, ids, 4)
		for _, r := range w.records("orders") {
			id := ids[redrive.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}.String()]
			require.Equal(t, "orders/0/"+string(r.Key[1:]), id, "the mark names the order")
			require.Equal(t, []string{id}, header(r, "dlq_id"))
			require.Equal(t, []string{"1"}, header(r, "dlq_redrives"))
		}
	})
}

// What fails again keeps its identity, and the number of redrives that the marks tell.
func TestWhatTheMarksConfirmIsBelieved(t *testing.T) {
	for name, mark := range map[string]func(redrive.Mark) redrive.Mark{
		"by its place":                   func(m redrive.Mark) redrive.Mark { return m },
		"of a mark that names no place":  func(m redrive.Mark) redrive.Mark { m.SentAs, m.Redrives = "", 0; return m },
		"of a topic that was made again": func(m redrive.Mark) redrive.Mark { m.TopicID = "another"; return m },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.letters(1, kgo.RecordHeader{Key: "dlq_redrives", Value: []byte("1")}, kgo.RecordHeader{Key: "dlq_id", Value: []byte("orders/2/99")})
				w.mark(redrive.Place{Topic: "dlq", Partition: 1, Offset: formerLetters}, mark(redrive.Mark{
					Action: redrive.Redriven, ID: "orders/2/99", Target: "orders", SentAs: "orders/0/0", Redrives: 1}))
				require.Equal(t, redrive.Counts{Matched: 1, Sent: 1}, w.run("", `where: '@dlq_redrives == "1"'`, "").Counts)
				sent := w.records("orders")
				require.Equal(t, []string{"orders/2/99"}, header(sent[0], "dlq_id"))
				require.Equal(t, []string{"2"}, header(sent[0], "dlq_redrives"))
			})
		})
	}
}

// A dead letter says where its order came from, and its writer may say anything.
func TestALetterCannotChooseItsTopic(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		adm := kadm.NewClient(w.cl)
		for _, topic := range []string{"orders-state", "eu"} {
			_, err := adm.CreateTopic(t.Context(), 1, 1, nil, topic)
			require.NoError(t, err)
		}
		w.letters(2)
		from := func(topic string) kgo.RecordHeader { return kgo.RecordHeader{Key: "dlq_topic", Value: []byte(topic)} }
		w.letters(3, from("orders-state"))
		for _, topic := range []string{"dlq", "dlq-redrives", "dlq-parking", "__consumer_offsets", "eu", "\x1b[2J"} {
			w.letters(1, from(topic))
		}
		dry := w.run("dry_run: true", "", "")
		require.Equal(t, redrive.Counts{Matched: 11, Sent: 2, LeftOpen: 9, Refused: map[string]int64{reasonNotAllowed: 9}}, dry.Counts)
		require.Equal(t, []string{"orders"}, dry.Targets)
		require.Equal(t, map[string]int64{"orders": 2}, dry.To)
		require.Equal(t, map[string]int64{
			"orders-state": 3, "dlq": 1, "dlq-redrives": 1, "dlq-parking": 1, "__consumer_offsets": 1, "eu": 1, "\x1b[2J": 1}, dry.NotAllowed)

		got := w.run("", "", `targets: [ "orders, eu" ]`)
		require.Equal(t, redrive.Counts{Matched: 11, Sent: 3, LeftOpen: 8, Refused: map[string]int64{reasonNotAllowed: 8}}, got.Counts)
		require.Equal(t, map[string]int64{"orders": 2, "eu": 1}, got.To)
		for topic, n := range map[string]int{"orders": 2, "eu": 1, "orders-state": 0, "dlq": 11} {
			require.Len(t, w.records(topic), n, topic)
		}
	})
}

// Letters may name any number of topics.
func TestFewOfTheTopicsThatAreNoTargetAreNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for i := range 30 {
			w.letters(1, kgo.RecordHeader{Key: "dlq_topic", Value: fmt.Appendf(nil, "t-%d", i)})
		}
		got := w.run("", "", "")
		require.Equal(t, redrive.Counts{Matched: 30, LeftOpen: 30, Refused: map[string]int64{reasonNotAllowed: 30}}, got.Counts)
		require.Len(t, got.NotAllowed, maxNames+1)
		require.EqualValues(t, 30-maxNames, got.NotAllowed[""])
	})
}

func TestADryRunWritesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(20)
		before, err := kadm.NewClient(w.cl).ListTopics(t.Context())
		require.NoError(t, err)
		r := w.start("dry_run: true", "where: this.price < -5\n        map: root.price = 1", "")
		require.NoError(t, <-r.done)
		require.Equal(t, redrive.Counts{Matched: 15, Sent: 15, LeftOpen: 5}, r.watch.Report().Counts)
		samples := r.watch.Samples()
		require.Len(t, samples, 10)
		require.EqualValues(t, 1, samples[0].After.(map[string]any)["price"])
		require.NotEqual(t, samples[0].Before, samples[0].After)
		after, err := kadm.NewClient(w.cl).ListTopics(t.Context())
		require.NoError(t, err)
		require.Equal(t, before.Names(), after.Names())
		require.Empty(t, w.records("orders"))
	})
}

func TestALimitIsExactAndTheNextRunGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(100)
		require.Equal(t, redrive.Counts{Matched: 25, Sent: 25, LeftOpen: 75}, w.run("batch_size: 50", "limit: 25", "").Counts)
		require.Len(t, w.records("orders"), 25)
		require.EqualValues(t, 75, w.run("batch_size: 7", "", "").Sent)
		require.Len(t, w.records("orders"), 100)
	})
}

func TestARateSpacesOrdersOutInShortTransactions(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(100)
		begun := time.Now()
		r := w.start("", "rate: 10", "")
		time.Sleep(5250 * time.Millisecond) // virtual
		seen := len(w.records("orders"))
		require.InDelta(t, 50, seen, 10, "what is sent is seen soon")
		require.NoError(t, <-r.done)
		require.InDelta(t, 10.0, time.Since(begun).Seconds(), 1)
		require.Len(t, w.records("orders"), 100)
	})
}

func TestAStopCommitsWhatWasSentAndTheNextRunGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(100)
		r := w.start("", "rate: 10", "")
		time.Sleep(3 * time.Second) // virtual
		begun := time.Now()
		require.NoError(t, r.stream.StopWithin(10*time.Second))
		require.Less(t, time.Since(begun), time.Second)
		<-r.done
		sent := r.watch.Report().Sent
		require.InDelta(t, 30, sent, 7)
		require.Equal(t, sent, r.watch.Report().Passed)
		require.InDelta(t, 100, r.watch.Report().Total, 3, "what was not looked at is told")
		require.Len(t, w.records("orders"), int(sent))
		_, runs := w.marks()
		require.False(t, runs[r.watch.Report().ID].Ended.IsZero())
		require.Equal(t, sent, runs[r.watch.Report().ID].Sent)
		require.EqualValues(t, 100-sent, w.run("", "", "").Sent)
		require.Len(t, w.records("orders"), 100)
	})
}

func TestASecondRedriveTakesOverAndTheFirstEndsWithAnError(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(100)
		first := w.start("", "rate: 10", "")
		time.Sleep(3 * time.Second) // virtual
		second := w.run("", "", "")
		require.NoError(t, <-first.done)
		require.ErrorContains(t, first.watch.Err(), "another redrive of dlq has taken over")
		require.Len(t, w.records("orders"), 100)
		require.EqualValues(t, 100, first.watch.Report().Sent+second.Sent)
	})
}
