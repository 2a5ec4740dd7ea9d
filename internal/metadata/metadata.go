// Package metadata is what a record's message carries as metadata, as the host's own Kafka inputs
// give it: the headers, and where, when and with which key it was written. What many records share
// is made once, since each value of metadata costs an allocation.
package metadata

import (
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Place is a topic and a partition as values of metadata.
type Place struct{ topic, partition any }

// PlaceOf makes the values for the records of a partition.
func PlaceOf(topic string, partition int32) Place {
	return Place{topic: topic, partition: int(partition)}
}

// Stamp is a time as values of metadata.
type Stamp struct{ unix, unixMS any }

// At returns the values for t: these ones if they are the same. Records that came together often
// share their time.
func (s Stamp) At(t time.Time) Stamp {
	ms := t.UnixMilli()
	if s.unixMS == any(ms) {
		return s
	}
	return Stamp{unix: t.Unix(), unixMS: ms}
}

// SetHeaders sets the headers, as text; a null one is null. Of a name that repeats the last counts.
func SetHeaders(msg *service.Message, headers []kgo.RecordHeader) {
	for _, h := range headers {
		if h.Value == nil {
			msg.MetaSetMut(h.Key, nil)
		} else {
			msg.MetaSetMut(h.Key, string(h.Value))
		}
	}
}

// Set sets the headers of a record, and then what else there is to tell of it, so that no header
// can pose as that.
func Set(msg *service.Message, rec *kgo.Record, place Place, stamp Stamp) {
	SetHeaders(msg, rec.Headers)
	msg.MetaSetMut("kafka_key", rec.Key)
	msg.MetaSetMut("kafka_topic", place.topic)
	msg.MetaSetMut("kafka_partition", place.partition)
	msg.MetaSetMut("kafka_offset", int(rec.Offset))
	msg.MetaSetMut("kafka_timestamp_unix", stamp.unix)
	msg.MetaSetMut("kafka_timestamp_ms", stamp.unixMS)
	msg.MetaSetMut("kafka_tombstone_message", rec.Value == nil)
}
