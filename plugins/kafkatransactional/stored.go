package kafkatransactional

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/session"
)

// The state topic holds four kinds of records. A key names what its record holds, so that
// compaction keeps the newest of each; a tombstone ends it.
//
//	waiting/TOPIC/PARTITION/OFFSET            an order that waits, with all that is needed to hand it out again
//	blocked/TOPIC/PARTITION/KEY               a key whose orders wait until a dead one of it was mended (JSON)
//	aggregate/TOPIC/PARTITION/NAME/GROUP      what was accumulated of one source partition
//	ledger/TOPIC/PARTITION                    whose state it is, and what its pipeline dropped (JSON)
//
// The kinds of state records.
const (
	KindWaiting   = "waiting"
	KindBlocked   = "blocked"
	KindAggregate = "aggregate"
	KindLedger    = "ledger"
)

// StateKey is the parsed key of a state record.
type StateKey struct {
	Kind      string
	Topic     string
	Partition int32
	Offset    int64  // of a waiting order
	Key       string // of a blocked key: the key itself, or its SHA-256 if it is long
	Name      string // of an aggregate
	Group     string // of an aggregate
}

func (k StateKey) append(b []byte) []byte {
	b = append(b, k.Kind...)
	b = append(b, '/')
	b = append(b, k.Topic...)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(k.Partition), 10)
	switch k.Kind {
	case KindWaiting:
		b = append(b, '/')
		b = strconv.AppendInt(b, k.Offset, 10)
	case KindBlocked:
		b = append(b, '/')
		b = append(b, url.PathEscape(k.Key)...)
	case KindAggregate:
		b = append(b, '/')
		b = append(b, url.PathEscape(k.Name)...)
		b = append(b, '/')
		b = append(b, k.Group...)
	}
	return b
}

// ParseStateKey is the inverse of what the input writes; it names what it cannot read.
func ParseStateKey(b []byte) (StateKey, error) {
	parts := strings.SplitN(string(b), "/", 5)
	if len(parts) < 3 {
		return StateKey{}, fmt.Errorf("parsing state key %.200q: want KIND/TOPIC/PARTITION", b)
	}
	k := StateKey{Kind: parts[0], Topic: parts[1]}
	n, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil || n < 0 {
		return StateKey{}, fmt.Errorf("parsing state key %.200q: partition %q is no number", b, parts[2])
	}
	k.Partition = int32(n)
	switch {
	case k.Kind == KindWaiting && len(parts) == 4:
		if k.Offset, err = strconv.ParseInt(parts[3], 10, 64); err != nil || k.Offset < 0 {
			return StateKey{}, fmt.Errorf("parsing state key %.200q: offset %q is no number", b, parts[3])
		}
	case k.Kind == KindBlocked && len(parts) == 4:
		if k.Key, err = url.PathUnescape(parts[3]); err != nil {
			return StateKey{}, fmt.Errorf("parsing state key %.200q: key %q: %w", b, parts[3], err)
		}
	case k.Kind == KindAggregate && len(parts) == 5:
		if k.Name, err = url.PathUnescape(parts[3]); err != nil {
			return StateKey{}, fmt.Errorf("parsing state key %.200q: name %q: %w", b, parts[3], err)
		}
		k.Group = parts[4]
	case k.Kind == KindLedger && len(parts) == 3:
	default:
		return StateKey{}, fmt.Errorf("parsing state key %.200q: unknown kind or wrong number of parts", b)
	}
	return k, nil
}

// Ledger is what a partition's state says of itself.
type Ledger struct {
	// Group is the consumer group that the state belongs to.
	Group string `json:"group"`
	// Start is the offset of the first record that this group was given.
	Start int64 `json:"start"`
	// Owner is who has committed the partition last.
	Owner Owner `json:"owner"`
	// Dropped counts the orders that ended without a record: dropped by the user's pipeline.
	Dropped int64 `json:"dropped"`
	// TopicID tells the topic from another one of the same name; empty if it has no id.
	TopicID string `json:"topic_id,omitempty"`
	// Next is the offset behind the last record that was read, -1 if none was.
	Next int64 `json:"next"`
	// RereadTo is where records are new again after the group's offset was reset backwards.
	RereadTo int64 `json:"reread_to,omitempty"`
	// Reread counts the orders that were read once more because of that.
	Reread int64 `json:"reread,omitempty"`
	// Skipped is what was not read because the group's offset was reset forwards.
	Skipped []Span `json:"skipped,omitempty"`
}

// Owner names an instance, so that whoever takes over from it can end what it left open.
type Owner struct {
	Member          string `json:"member,omitempty"`
	TransactionalID string `json:"transactional_id,omitempty"`
}

// DecodeLedger reads the value of a ledger record.
func DecodeLedger(b []byte) (Ledger, error) {
	l := Ledger{Next: unknownOffset}
	if err := json.Unmarshal(b, &l); err != nil {
		return Ledger{}, fmt.Errorf("decoding ledger: %w", err)
	}
	return l, nil
}

// The first byte of a waiting order's record: whether it holds the order, or only says where
// the order is, since the state topic would refuse one that large.
const (
	waitingWhole     = 1
	waitingReference = 2
)

// appendWaiting writes what is needed to hand the order out again; with maxBytes or more it
// leaves the order where it is. All integers are varints; a length is one more than it is, so
// that 0 tells null from empty.
func appendWaiting(b []byte, w *waiting, maxBytes int) ([]byte, error) {
	hist, err := json.Marshal(w.hist)
	if err != nil {
		return nil, fmt.Errorf("encoding history: %w", err)
	}
	var due int64
	if !w.due.IsZero() {
		due = w.due.Add(time.Millisecond - 1).UnixMilli() // never earlier
	}
	whole := !w.absent && batchSize(w.rec)+len(hist)+256 < maxBytes // 256: the key and a few numbers
	if whole {
		b = append(b, waitingWhole)
	} else {
		b = append(b, waitingReference)
	}
	b = binary.AppendVarint(b, due)
	b = binary.AppendUvarint(b, uint64(w.refused))
	b = appendBytes(b, hist)
	if !whole {
		return b, nil
	}
	b = binary.AppendVarint(b, w.rec.Timestamp.UnixMilli())
	b = appendBytes(b, w.rec.Key)
	b = appendBytes(b, w.rec.Value)
	b = binary.AppendUvarint(b, uint64(len(w.rec.Headers)))
	for _, h := range w.rec.Headers {
		b = appendBytes(b, []byte(h.Key))
		b = appendBytes(b, h.Value)
	}
	return b, nil
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(v))+1)
	return append(b, v...)
}

var errTruncated = errors.New("record ends early")

func decodeWaiting(k StateKey, b []byte) (*waiting, error) {
	w := &waiting{stored: true}
	if err := w.decode(k, b); err != nil {
		return nil, fmt.Errorf("decoding waiting order %s/%d/%d: %w", k.Topic, k.Partition, k.Offset, err)
	}
	return w, nil
}

func (w *waiting) decode(k StateKey, b []byte) error {
	if len(b) == 0 || b[0] != waitingWhole && b[0] != waitingReference {
		return errors.New("unknown version")
	}
	w.absent = b[0] == waitingReference
	r := reader{b: b[1:]}
	if due := r.varint(); due != 0 {
		w.due = time.UnixMilli(due)
	}
	w.refused = int(min(r.uvarint(), 1<<20))
	hist := r.bytes()
	w.rec = &kgo.Record{Topic: k.Topic, Partition: k.Partition, Offset: k.Offset}
	if w.absent {
		w.whole = unknownSize
	} else {
		r.record(w.rec)
		w.keep(w.rec, true)
	}
	if r.err != nil {
		return r.err
	}
	if len(r.b) > 0 {
		return fmt.Errorf("%d bytes left over", len(r.b))
	}
	var h session.History
	if err := json.Unmarshal(hist, &h); err != nil {
		return fmt.Errorf("decoding history: %w", err)
	}
	w.hist = h
	return nil
}

// record reads what a record holds.
func (r *reader) record(rec *kgo.Record) {
	rec.Timestamp = time.UnixMilli(r.varint())
	rec.Key = r.bytes()
	rec.Value = r.bytes()
	n := r.uvarint()
	if r.err == nil && n > uint64(len(r.b)) { // a header takes two bytes at least
		r.err = errTruncated
	}
	for range n {
		if r.err != nil {
			return
		}
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: string(r.bytes()), Value: r.bytes()})
	}
}

// reader reads varints and byte strings; after an error it reads zeroes.
type reader struct {
	b   []byte
	err error
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	return advance(r, v, n)
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return advance(r, v, n)
}

func advance[T int64 | uint64](r *reader, v T, n int) T {
	if r.err != nil || n <= 0 {
		r.err = errTruncated
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if r.err != nil || n == 0 {
		return nil
	}
	n--
	if n > uint64(len(r.b)) {
		r.err = errTruncated
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}
