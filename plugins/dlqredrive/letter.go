package dlqredrive

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/metadata"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/internal/session"
)

// state is how far a letter that was handed out has come.
type state int

const (
	pending    state = iota // nobody has looked at it
	unmatched               // the filter does not mean it
	unfiltered              // the filter failed on it
	beyond                  // the limit was reached before it
	deferred                // it is to be handed out again in the next batch
	refused                 // it was chosen, and cannot be sent
	approved                // it is to be written
	written
)

// letter is a dead letter that was handed out.
type letter struct {
	rec     *kgo.Record
	topicID string // of its topic
	place   redrive.Place
	about   deadletter.Letter // with an id, whatever the record says
	// noRecord tells that the letter only says where its record is.
	noRecord bool

	state  state
	route  route
	sent   *kgo.Record // what was written; it has its place once it is delivered
	mended bool
	broken bool // it could not be decoded
	sample *Sample
}

// newLetter reads a record. Which orders were sent again decides what is believed of it.
func newLetter(rec *kgo.Record, topicID string, sent *redrive.Sent) *letter {
	parsed := letters.Parse(rec)
	parsed.Verify(sent)
	return &letter{rec: rec, topicID: topicID, place: parsed.Place, about: parsed.Letter, noRecord: parsed.NoRecord}
}

// message is the letter as the pipeline sees it. Whatever dialect its headers are in, the native
// ones say the same.
func (l *letter) message() *service.Message {
	msg := service.NewMessage(l.rec.Value)
	metadata.Set(msg, l.rec, metadata.PlaceOf(l.rec.Topic, l.rec.Partition), metadata.Stamp{}.At(l.rec.Timestamp))
	for _, h := range l.about.Headers(deadletter.Native) {
		msg.MetaSetMut(h.Name, string(h.Value))
	}
	return msg
}

// placeOf reads from the metadata where a message's record is.
func placeOf(msg *service.Message) redrive.Place {
	place, _ := session.PlaceOf(msg.MetaGetImmut)
	return redrive.Place(place)
}

// resent is the order as it is sent again: the record that once failed, with its own headers and
// without those of its failure. It goes to the partition that it came from, if it goes to that
// topic.
func (l *letter) resent(value []byte) *kgo.Record {
	rec := &kgo.Record{Topic: l.route.topic, Partition: anyPartition, Key: l.rec.Key, Value: value}
	if l.route.topic == l.about.Topic && l.about.Partition >= 0 {
		rec.Partition = int32(l.about.Partition)
	}
	for _, h := range l.rec.Headers {
		// The id of a schema tells of the bytes as they were: it would make others of the mended ones.
		if !deadletter.IsOurs(h.Key) && !(l.mended && h.Key == order.SchemaIDHeader) {
			rec.Headers = append(rec.Headers, h)
		}
	}
	rec.Headers = append(rec.Headers,
		kgo.RecordHeader{Key: deadletter.HeaderID, Value: []byte(l.about.ID)},
		kgo.RecordHeader{Key: deadletter.HeaderRedrives, Value: strconv.AppendInt(nil, int64(l.about.Redrives)+1, 10)})
	return rec
}

// parked is the letter as it goes to the parking topic: as it is.
func (l *letter) parked() *kgo.Record {
	return &kgo.Record{Topic: l.route.topic, Partition: anyPartition, Key: l.rec.Key, Value: l.rec.Value, Headers: l.rec.Headers}
}

// mark is the record that says that the letter is open no more, once its order is delivered.
func (l *letter) mark(topic, run string, now time.Time) (*kgo.Record, error) {
	m := redrive.Mark{Action: redrive.Redriven, ID: l.about.ID, Target: l.route.topic, Run: run, At: now.UTC(), TopicID: l.topicID}
	switch {
	case l.route.parked:
		m.Action = redrive.Parked
	case l.sent.Offset >= 0:
		m.SentAs = redrive.Place{Topic: l.sent.Topic, Partition: l.sent.Partition, Offset: l.sent.Offset}.String()
		m.Redrives = l.about.Redrives + 1
	}
	value, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &kgo.Record{Topic: topic, Partition: anyPartition, Key: l.place.Key(), Value: value}, nil
}
