// Package letters reads a dead-letter topic: each record with what its headers say in whatever
// dialect, its order as far as it can be decoded, and whether it was sent again already. The
// commands of a dead-letter topic and what redrives it see letters through this package alone.
package letters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/redrive"
)

// Letter is a record of a dead-letter topic.
type Letter struct {
	// Letter is what the headers say, of redrives what the marks confirm. It always has an ID: where
	// the headers have none it is the origin, and where that is unknown too, the letter's own place.
	deadletter.Letter
	// Place is where the letter is.
	Place  redrive.Place
	Record *kgo.Record
	// Order is nil if the value cannot be decoded; Undecodable then says why.
	Order       *order.Order
	Undecodable error
	// NoRecord tells that the letter only says where the record is, as brokers write it for share
	// groups, or that it cannot be read itself: there is nothing to decode, and nothing to send again.
	NoRecord bool
	// Mark says what became of it; it is nil as long as the letter is open.
	Mark *redrive.Mark
}

// Open tells whether the letter was neither redriven nor parked.
func (l *Letter) Open() bool { return l.Mark == nil }

// At is when the order failed for good, as far as that is known, else when the letter was written.
// It is zero where that is not known either.
func (l *Letter) At() time.Time {
	if l.LastFailedAt.IsZero() {
		return deadletter.Millis(l.Record.Timestamp.UnixMilli())
	}
	return l.LastFailedAt
}

// Parse reads a record without decoding its order.
func Parse(r *kgo.Record) Letter {
	l := Letter{Place: redrive.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, Record: r}
	l.Letter = Describe(l.header, l.Place)
	_, unreadable := committed.Unreadable(r)
	l.NoRecord = unreadable != nil || r.Key == nil && r.Value == nil && deadletter.SaysWhereOnly(l.header)
	return l
}

// header returns the header of that name that counts, which is the last.
func (l *Letter) header(name string) ([]byte, bool) {
	for i := len(l.Record.Headers) - 1; i >= 0; i-- {
		if l.Record.Headers[i].Key == name {
			return l.Record.Headers[i].Value, true
		}
	}
	return nil, false
}

// CodeNoRecord is the code of ErrNoRecord.
const CodeNoRecord = "record_missing"

// ErrNoRecord says why nothing can be done with a letter that has no record.
func ErrNoRecord(l deadletter.Letter) error {
	text := "the letter has no record, a share group leaves it out unless errors.deadletterqueue.copy.record.enable is set"
	if l.Code == deadletter.CodeUnread {
		text = "the letter has no record, since that was too large to be read"
	}
	if origin := l.Origin(); origin != "" {
		text += ": while its topic keeps it, it is at " + origin
	}
	return failure.NewPermanent(CodeNoRecord, errors.New(text))
}

// Describe reads what headers, which are looked up by name, say of the letter at a place. See
// Letter for its ID.
func Describe(header func(name string) ([]byte, bool), place redrive.Place) deadletter.Letter {
	l, _ := deadletter.Read(header)
	l.ID = cmp.Or(l.ID, l.Origin(), place.String())
	return l
}

// Verify leaves of what the letter says of its order's redrives what the marks confirm. A letter
// whose order was never sent again is known by where that order was, whatever its producer wrote.
func (l *Letter) Verify(sent *redrive.Sent) {
	origin := l.Origin()
	switch n := sent.Confirm(l.Topic, origin, l.ID, l.Redrives); {
	case origin != "" && n > 0:
		l.Redrives = n
	case origin != "":
		l.ID, l.Redrives = origin, 0
	case l.Redrives != 0:
		l.ID, l.Redrives = l.Place.String(), 0
	}
}

// Decode decodes the order. Its error is that of a context that ended while a registry was waited
// for; a value that is no order is none, nor is a registry that does not answer, see Undecodable.
func (l *Letter) Decode(ctx context.Context, d *order.ValueDecoder) error {
	if _, err := committed.Unreadable(l.Record); err != nil {
		l.Undecodable = err
		return nil
	}
	if l.NoRecord {
		l.Undecodable = ErrNoRecord(l.Letter)
		return nil
	}
	schemaID, ok := l.header(order.SchemaIDHeader)
	if ok && schemaID == nil {
		schemaID = []byte{}
	}
	o, _, err := d.Decode(ctx, l.Record.Value, schemaID)
	switch _, told := errors.AsType[*failure.Error](err); {
	case err == nil:
		l.Order = &o
	case told:
		l.Undecodable = err
	default:
		return fmt.Errorf("decoding dead letter %s: %w", l.Place, err)
	}
	return nil
}

// Topic is a dead-letter topic and how to read it.
type Topic struct {
	Name string
	// Opts are those of a client: brokers, and how to talk to them.
	Opts    []kgo.Opt
	Decoder *order.ValueDecoder
}

// Read calls fn for each committed letter, up to what is there when the reading begins, by
// partition in the order of their offsets. An error of fn ends the reading. A topic that does not
// exist is kerr.UnknownTopicOrPartition.
func (t Topic) Read(ctx context.Context, fn func(*Letter) error) error {
	cl, err := kgo.NewClient(t.Opts...)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	// The letters end before the marks are read, so that each letter's mark is among them if it
	// had one by then.
	ranges, err := committed.Stable(ctx, adm, t.Name)
	if err != nil {
		return err
	}
	id, err := TopicID(ctx, adm, t.Name)
	if err != nil {
		return err
	}
	marks, sent, err := t.marks(ctx, adm, id)
	if err != nil {
		return err
	}
	_, err = committed.Read(ctx, t.Opts, t.Name, ranges, func(r *kgo.Record) error {
		l := Parse(r)
		l.Verify(&sent)
		if err := l.Decode(ctx, t.Decoder); err != nil {
			return err
		}
		if m, ok := marks[string(l.Place.Key())]; ok {
			l.Mark = &m
		}
		return fn(&l)
	})
	return err
}

// TopicID returns the id of a topic as committed.TopicIDs does, empty where there is none.
func TopicID(ctx context.Context, adm *kadm.Client, topic string) (string, error) {
	ids, err := committed.TopicIDs(ctx, adm, topic)
	if err != nil {
		return "", fmt.Errorf("asking for the id of topic %s: %w", topic, err)
	}
	return ids[topic], nil
}

// marks returns the marks of the letters of the topic that has this id, by the keys of their
// records, and which orders were sent again.
func (t Topic) marks(ctx context.Context, adm *kadm.Client, id string) (map[string]redrive.Mark, redrive.Sent, error) {
	ranges, err := committed.Stable(ctx, adm, redrive.Topic(t.Name))
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, redrive.Sent{}, nil // nothing was ever redriven
	}
	if err != nil {
		return nil, redrive.Sent{}, err
	}
	return Marks(ctx, t.Opts, t.Name, id, ranges, func(m redrive.Mark) redrive.Mark { return m })
}

// Marks reads these ranges of the redrive topic of a dead-letter topic. It returns, by the keys of
// their records, what keep makes of the marks of letters that are open no more. They are those of
// the dead-letter topic that has this id. The orders that were sent again are those of all marks:
// they outlive the letters. An error is also a mark that cannot be read: its letter must not be
// taken for open.
func Marks[V any](ctx context.Context, opts []kgo.Opt, topic, id string, ranges map[int32]committed.Range, keep func(redrive.Mark) V) (map[string]V, redrive.Sent, error) {
	marks := map[string]V{}
	var sent redrive.Sent
	_, err := committed.Read(ctx, opts, redrive.Topic(topic), ranges, func(r *kgo.Record) error {
		if _, err := committed.Unreadable(r); err != nil {
			return err
		}
		if r.Value == nil { // somebody has opened the letter again
			delete(marks, string(r.Key))
			return nil
		}
		_, m, ok, err := redrive.ParseMark(r.Key, r.Value)
		if err != nil {
			return fmt.Errorf("reading %s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		if ok {
			sent.Add(m)
		}
		if ok && m.Concerns(id) {
			marks[string(r.Key)] = keep(m)
		}
		return nil
	})
	return marks, sent, err
}
