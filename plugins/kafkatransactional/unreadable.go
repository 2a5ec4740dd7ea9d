package kafkatransactional

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/shown"
)

// Unreadable is a record of the state topic that cannot be read, and that no later one of its key
// has replaced; or a batch of records that is too large, at the offset of its first.
type Unreadable struct {
	Topic     string
	Partition int32
	Offset    int64
	Err       error

	raw     []byte   // its key; nil for a batch
	key     StateKey // zero where it cannot be read
	foreign bool     // no version has written it
}

func (u *Unreadable) Error() string {
	return fmt.Sprintf("%s/%d at offset %d: %v", u.Topic, u.Partition, u.Offset, u.Err)
}

func (u *Unreadable) Unwrap() error { return u.Err }

func (u *Unreadable) place() string { return statePlace(u.Topic, u.Partition, u.Offset) }

func statePlace(topic string, partition int32, offset int64) string {
	return fmt.Sprintf("%s/%d/%d", topic, partition, offset)
}

// Source returns the partition of the source topic whose state is not known, as far as the record
// tells: the topic is empty where not even its key can be read.
func (u *Unreadable) Source() (topic string, partition int32) { return u.key.Topic, u.Partition }

// UnreadableError names records of the state that cannot be read. All others were.
type UnreadableError struct{ Records []*Unreadable }

// maxNamed is how many records an error or a restore names.
const maxNamed = 10

func (e *UnreadableError) Error() string {
	var texts []string
	for _, u := range e.Records[:min(len(e.Records), maxNamed)] {
		texts = append(texts, u.Error())
	}
	if more := len(e.Records) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return "state that cannot be read: " + strings.Join(texts, "; ")
}

// errSkipped is why a record is not read that skip_unreadable_state names.
var errSkipped = errors.New("it is one of " + fieldSkipState)

// errGroup ends a reading: nothing of the state of another group is ours.
var errGroup = errors.New("give each group a state topic of its own")

// readState calls fn for each committed record of the state topic in the given ranges, by
// partition in the order of their offsets. It returns the number of records, and those for which
// fn gave an error or whose key cannot be read, unless a later record of the key could be. Of a batch
// that is too large nobody knows the keys: it is one of them.
func readState(ctx context.Context, opts []kgo.Opt, topic string, ranges map[int32]committed.Range, fn func(StateKey, *kgo.Record) error) (int64, []*Unreadable, error) {
	type key struct {
		partition int32
		name      string
	}
	failed := map[key]*Unreadable{}
	var all []*Unreadable
	n, err := committed.Read(ctx, opts, topic, ranges, func(rec *kgo.Record) error {
		u := &Unreadable{Topic: topic, Partition: rec.Partition, Offset: rec.Offset, raw: rec.Key}
		if _, u.Err = committed.Unreadable(rec); u.Err != nil {
			all = append(all, u)
			return nil
		}
		id := key{rec.Partition, string(rec.Key)}
		var k StateKey
		switch k, u.Err = ParseStateKey(rec.Key); {
		case u.Err == nil && k.Partition != rec.Partition:
			u.Err, u.foreign = fmt.Errorf("the key %.200q is one of partition %d", rec.Key, k.Partition), true
		case u.Err == nil:
			u.key = k
			u.Err = fn(k, rec)
		default:
			u.foreign = !isStateKey(rec.Key, rec.Partition)
		}
		if errors.Is(u.Err, errGroup) {
			return u
		}
		delete(failed, id)
		// A tombstone holds nothing that could be missed.
		if u.Err != nil && (rec.Value != nil || errors.Is(u.Err, errSkipped)) {
			failed[id] = u
		}
		return nil
	})
	all = slices.AppendSeq(all, maps.Values(failed))
	slices.SortFunc(all, func(a, b *Unreadable) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return n, all, err
}

// isStateKey tells whether a key that this version cannot read may be of a later one: keys begin
// with their kind, topic and partition.
func isStateKey(key []byte, partition int32) bool {
	parts := strings.SplitN(string(key), "/", 4)
	if len(parts) < 3 || parts[2] != strconv.Itoa(int(partition)) {
		return false
	}
	isName := func(s string, more string, most int) bool {
		return s != "" && len(s) <= most && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_-"+more) == ""
	}
	return isName(parts[0], "", 40) && isName(parts[1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.", 249)
}

// restoreRecord applies a record of the state topic to the partition that it is of.
func (c *client) restoreRecord(p *partition, k StateKey, rec *kgo.Record, now time.Time) error {
	place := statePlace(rec.Topic, rec.Partition, rec.Offset)
	if slices.Contains(c.conf.skipState, place) {
		return errSkipped
	}
	if err := c.conf.faults.of(place); err != nil {
		return err
	}
	if err := p.restore(k, rec.Value); err != nil {
		return err
	}
	switch k.Kind {
	case KindWaiting:
		const byItsWriter = 0 // and not by the broker, whose clock is a third one
		if w := p.waiting[k.Offset]; w != nil && rec.Attrs.TimestampType() == byItsWriter {
			p.hasten(w, rec.Timestamp.Sub(now))
		}
	case KindAggregate:
		if a := p.acc[accumulatorKey{k.Name, k.Group}]; a != nil {
			a.place = place
		}
	}
	return nil
}

// shelve decides about records that cannot be read. What was never ours is ignored, what is to be
// skipped is as if it had not been written. The partitions that others belong to are taken out of
// parts, and wait: nobody knows what else their orders would do twice, or not at all. It fails if
// they are read already, which has to end first.
func (c *client) shelve(parts map[topicPartition]*partition, unreadable []*Unreadable, reading bool) error {
	left := maxNamed
	for _, u := range unreadable {
		skipped := slices.Contains(c.conf.skipState, u.place())
		if (skipped || u.foreign) && left == 0 {
			continue
		}
		switch {
		case skipped:
			left--
			c.log.Warnf("Skipped in the state topic, as %s says: %v", fieldSkipState, shown.Err(u))
			for tp, p := range parts {
				if tp.partition == u.Partition && (u.key == (StateKey{}) || tp.topic == u.key.Topic) {
					p.replace(u.key, u.raw)
					c.mu.Lock()
					c.fresh = true
					c.mu.Unlock()
					break
				}
			}
		case u.foreign:
			left--
			if c.conf.faults.tell(u.place()) {
				c.log.Errorf("Ignored in the state topic, since no version of this program writes such records: %v", shown.Err(u))
			}
		default:
			for tp := range parts {
				if tp.partition != u.Partition || u.key != (StateKey{}) && tp.topic != u.key.Topic {
					continue
				}
				if reading {
					return fmt.Errorf("restoring: %w", u)
				}
				delete(parts, tp)
				c.mu.Lock()
				c.shelved[tp] = struct{}{}
				c.mu.Unlock()
				c.log.Errorf("Partition %s waits, since its state cannot be read: %v; the others go on. A newer version may be able to read it. To go on as if that record had not been written, add %s to %s", tp, shown.Err(u), u.place(), fieldSkipState)
			}
		}
	}
	return nil
}

// replace makes the next commit write what is known under a key, or that it is nothing, so that
// the record that was skipped is not read again. A batch has no key, and stays to be skipped.
func (p *partition) replace(k StateKey, raw []byte) {
	switch k.Kind {
	case KindWaiting:
		p.written[k.Offset] = struct{}{}
	case KindBlocked:
		p.rewrite[k.Key] = struct{}{}
	case KindLedger:
		p.ledgerDirty = true
	default:
		if a := p.acc[accumulatorKey{k.Name, k.Group}]; a != nil && k.Kind == KindAggregate {
			a.dirty = true
			return
		}
		if raw != nil {
			p.cleared = append(p.cleared, raw)
		}
	}
}

// errUndecodable is an aggregate whose record cannot be decoded by who knows its type, which shows
// only when it is asked for.
type errUndecodable struct {
	place string
	err   error
}

func (e *errUndecodable) Error() string { return e.err.Error() }
func (e *errUndecodable) Unwrap() error { return e.err }

// faults remembers, from one client to the next, what is wrong with records of the state topic.
type faults struct {
	mu    sync.Mutex
	wrong map[string]error // by place: aggregates that could not be decoded
	told  map[string]bool
}

func newFaults() *faults { return &faults{wrong: map[string]error{}, told: map[string]bool{}} }

// note remembers an aggregate that could not be decoded, if that is what err is.
func (f *faults) note(err error) {
	if e, ok := errors.AsType[*errUndecodable](err); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.wrong[e.place] = e.err
	}
}

func (f *faults) of(place string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wrong[place]
}

// tell is true once for each place.
func (f *faults) tell(place string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.told[place]
	f.told[place] = true
	return !before
}
