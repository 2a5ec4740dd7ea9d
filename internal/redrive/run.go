package redrive

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Counts says what became of the dead letters that a run looked at.
type Counts struct {
	// Matched counts those that the filter chose before the limit was reached.
	Matched int64 `json:"matched"`
	Sent    int64 `json:"sent"`
	Parked  int64 `json:"parked"`
	// Refused counts, by reason, those that were chosen and could not be sent. They stay open.
	Refused map[string]int64 `json:"refused,omitzero"`
	// LeftOpen counts all that were open and still are: not chosen, refused, or beyond the limit.
	LeftOpen int64 `json:"left_open"`
}

// Run is the audit record of one redrive. It is written in each transaction, so that of a run
// that was killed it tells how far it came.
type Run struct {
	ID     string    `json:"run"`
	By     string    `json:"by"` // user@host
	Begun  time.Time `json:"begun"`
	Ended  time.Time `json:"ended,omitzero"` // zero while it goes on, and of one that was killed
	IDs    []string  `json:"ids,omitempty"`  // the filter: all of these
	Where  string    `json:"where"`
	Map    string    `json:"map,omitempty"`
	Target string    `json:"target,omitempty"` // empty: the topic that each letter came from
	Counts
}

// ParseRun reads a record of the redrive topic; false is one that is no audit record.
func ParseRun(key, value []byte) (Run, bool, error) {
	id, ok := strings.CutPrefix(string(key), runPrefix)
	if !ok || value == nil {
		return Run{}, false, nil
	}
	var r Run
	if err := json.Unmarshal(value, &r); err != nil {
		return Run{}, false, fmt.Errorf("decoding audit record of run %s: %w", id, err)
	}
	return r, true, nil
}
