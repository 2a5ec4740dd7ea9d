package kafkatransactional

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
)

// slab is memory for the records that a batch becomes, so that none of them costs an
// allocation of its own.
type slab struct {
	records []kgo.Record
	headers []kgo.RecordHeader
	bytes   []byte
	json    jsonWriter
}

func newSlab(records, headersEach int) *slab {
	return &slab{
		records: make([]kgo.Record, records),
		headers: make([]kgo.RecordHeader, records*headersEach),
		bytes:   make([]byte, 0, records*128),
	}
}

// record returns a record that has room for some headers.
func (s *slab) record(headers int) *kgo.Record {
	rec := &s.records[0]
	rec.Headers = s.headers[:0:headers]
	s.records, s.headers = s.records[1:], s.headers[headers:]
	return rec
}

// since returns what was appended to the bytes after the first n of them.
func (s *slab) since(n int) []byte { return s.bytes[n:len(s.bytes):len(s.bytes)] }

// record makes the record that a message becomes; from is the record that it came from.
func (o *output) record(msg *service.Message, from *kgo.Record, s *slab) (*kgo.Record, error) {
	rec := s.record(len(o.headers))
	rec.Key = from.Key
	var err error
	if rec.Topic, err = o.topic.TryString(msg); err != nil {
		return nil, fmt.Errorf("interpolating field %s: %w", fieldTopic, err)
	}
	if rec.Value, err = s.content(msg); err != nil {
		return nil, err
	}
	if o.key != nil {
		if rec.Key, err = o.key.TryBytes(msg); err != nil {
			return nil, fmt.Errorf("interpolating field %s: %w", fieldKey, err)
		}
	}
	if o.partition != nil {
		s, err := o.partition.TryString(msg)
		if err != nil {
			return nil, fmt.Errorf("interpolating field %s: %w", fieldPartition, err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("field %s: %q is no partition number", fieldPartition, s)
		}
		rec.Partition = int32(n)
	}
	if o.originalHeaders {
		rec.Headers = append(rec.Headers, from.Headers...)
	}
	if o.metadata != nil {
		var names []string
		values := map[string]string{}
		_ = o.metadata.Walk(msg, func(name, value string) error {
			names = append(names, name)
			values[name] = value
			return nil
		})
		slices.Sort(names) // metadata has no order
		if o.deadLetter && slices.ContainsFunc(names, deadletter.IsOurs) {
			// The record may have failed before, and elsewhere: what is said now replaces it all.
			rec.Headers = slices.DeleteFunc(rec.Headers, func(h kgo.RecordHeader) bool { return deadletter.IsOurs(h.Key) })
		}
		for _, name := range names {
			rec.Headers = replaceHeader(rec.Headers, name, []byte(values[name]), !deadletter.IsOurs(name))
		}
	}
	for _, h := range o.headers {
		begin := len(s.bytes)
		if s.bytes, err = h.value.append(s.bytes, msg); err != nil {
			return nil, fmt.Errorf("interpolating field %s.%s: %w", fieldHeaders, h.name, err)
		}
		rec.Headers = replaceHeader(rec.Headers, h.name, s.since(begin), false)
	}
	return rec, nil
}

// content is what a message holds, as bytes.
func (s *slab) content(msg *service.Message) ([]byte, error) {
	if msg.HasBytes() || !msg.HasStructured() {
		return msg.AsBytes()
	}
	document, err := msg.AsStructured()
	if err != nil {
		return nil, err
	}
	begin := len(s.bytes)
	b, ok := s.json.append(s.bytes, document)
	if !ok {
		return msg.AsBytes()
	}
	s.bytes = b
	return s.since(begin), nil
}

// replaceHeader sets a header in place of all of its name. With keepSame, headers whose last
// value is the same stay as they are, since metadata shows only the last of a name.
func replaceHeader(hs []kgo.RecordHeader, name string, value []byte, keepSame bool) []kgo.RecordHeader {
	last := -1
	for i := range hs {
		if hs[i].Key == name {
			last = i
		}
	}
	if last >= 0 {
		same := bytes.Equal(hs[last].Value, value) || hs[last].Value == nil && string(value) == "null"
		if keepSame && same {
			return hs
		}
		kept := hs[:0:0]
		for _, h := range hs {
			if h.Key != name {
				kept = append(kept, h)
			}
		}
		hs = kept
	}
	return append(hs, kgo.RecordHeader{Key: name, Value: value})
}
