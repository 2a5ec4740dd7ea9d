// Package redrive is what is remembered of dead letters that were sent again: the records of the
// redrive topic, which stands beside a dead-letter topic and is named after it. It knows neither
// the host nor Kafka.
//
// A dead letter stays where it is, since a topic cannot give one record back; a mark says that
// it is open no more. Marks are written in the transaction that sends the order.
//
//	mark/TOPIC/PARTITION/OFFSET   a mark of the dead letter at this place of the dead-letter topic
//	run/ID                        the audit record of one redrive
package redrive

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Topic is the name of the redrive topic of a dead-letter topic.
func Topic(deadLetters string) string { return deadLetters + "-redrives" }

// Place is where a dead letter is.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

func (p Place) String() string { return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset) }

// ParsePlace is the inverse of String; it takes nothing that String does not write.
func ParsePlace(s string) (Place, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 || parts[0] == "" {
		return Place{}, fmt.Errorf("place %q: want TOPIC/PARTITION/OFFSET", s)
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil || partition < 0 {
		return Place{}, fmt.Errorf("place %q: partition %q is no number", s, parts[1])
	}
	offset, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || offset < 0 {
		return Place{}, fmt.Errorf("place %q: offset %q is no number", s, parts[2])
	}
	p := Place{parts[0], int32(partition), offset}
	if p.String() != s { // a second key for one place would outlive the compaction of the first
		return Place{}, fmt.Errorf("place %q: want it as %s", s, p)
	}
	return p, nil
}

// What became of a dead letter.
const (
	Redriven = "redriven" // its order was sent again
	Parked   = "parked"   // it went to the parking topic, having been redriven too often
)

// Mark says that a dead letter is open no more.
type Mark struct {
	Action string    `json:"action"`
	ID     string    `json:"dlq_id"`
	Target string    `json:"target"` // the topic that it was sent to
	Run    string    `json:"run"`
	At     time.Time `json:"at"`
	// TopicID is the id of the dead-letter topic; empty if its broker, before Kafka 2.8, gives
	// topics none. Without it the mark would also be one of what is at the same place once the
	// topic was deleted and made again.
	TopicID string `json:"topic_id,omitempty"`
	// SentAs is the place of the order that was sent, and Redrives how often it was sent with that.
	// What other records say of having been sent again is not true. Older marks lack both.
	SentAs   string `json:"sent_as,omitempty"`
	Redrives int    `json:"redrives,omitempty"`
}

// Concerns tells whether the mark is one of the topic that has this id now. Where one of the two
// ids is not known, it is.
func (m Mark) Concerns(topicID string) bool {
	return m.TopicID == "" || topicID == "" || m.TopicID == topicID
}

const (
	markPrefix = "mark/"
	runPrefix  = "run/"
)

// Key is the key of the record that holds the mark of the dead letter at p.
func (p Place) Key() []byte { return []byte(markPrefix + p.String()) }

// RunKey is the key of the audit record of a run.
func RunKey(id string) []byte { return []byte(runPrefix + id) }

// ParseMark reads a record of the redrive topic; false is one that is no mark.
func ParseMark(key, value []byte) (Place, Mark, bool, error) {
	name, ok := strings.CutPrefix(string(key), markPrefix)
	if !ok || value == nil {
		return Place{}, Mark{}, false, nil
	}
	p, err := ParsePlace(name)
	if err != nil {
		return Place{}, Mark{}, false, fmt.Errorf("parsing key of a mark: %w", err)
	}
	var m Mark
	if err := json.Unmarshal(value, &m); err != nil {
		return Place{}, Mark{}, false, fmt.Errorf("decoding mark of %s: %w", p, err)
	}
	return p, m, true, nil
}
