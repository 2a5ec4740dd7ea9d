// Package deadletter is what a dead letter says about its failure: the headers, their names
// and encodings, and how to read them again. It knows neither the host nor Kafka.
package deadletter

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Names of the headers in the native dialect. Values are UTF-8 text; times are RFC 3339 in
// UTC with milliseconds.
const (
	HeaderID            = "dlq_id"
	HeaderClass         = "dlq_class"
	HeaderCode          = "dlq_code"
	HeaderError         = "dlq_error"
	HeaderStage         = "dlq_stage"
	HeaderAttempts      = "dlq_attempts"
	HeaderAttemptTimes  = "dlq_attempt_times"
	HeaderFirstFailedAt = "dlq_first_failed_at"
	HeaderLastFailedAt  = "dlq_last_failed_at"
	HeaderTopic         = "dlq_topic"
	HeaderPartition     = "dlq_partition"
	HeaderOffset        = "dlq_offset"
	HeaderTimestamp     = "dlq_timestamp"
	HeaderGroup         = "dlq_group"
	HeaderRedrives      = "dlq_redrives"
)

// Names lists the headers of the native dialect in the order in which they are written.
var Names = []string{
	HeaderID, HeaderClass, HeaderCode, HeaderError, HeaderStage, HeaderAttempts, HeaderAttemptTimes,
	HeaderFirstFailedAt, HeaderLastFailedAt, HeaderTopic, HeaderPartition, HeaderOffset, HeaderTimestamp,
	HeaderGroup, HeaderRedrives,
}

const (
	// MaxText is the most bytes that a text in a header takes, its mark of truncation included.
	MaxText = 4096
	// Truncated ends a text that was cut.
	Truncated = "… (truncated)"
	// MaxTimes is how many attempt times are written: the first ones and the last.
	MaxTimes = 64
	// Unknown is a partition or offset that is not known.
	Unknown = -1

	// maxSmall is the largest partition or count that is read.
	maxSmall = math.MaxInt32

	timeFormat = "2006-01-02T15:04:05.000Z"
)

// Letter is what is known of a failure. A field that is empty, a zero time, one beyond the years
// of RFC 3339 (a record's timestamp can be any) and a partition or offset of Unknown are left out
// of the headers.
type Letter struct {
	ID    string
	Class string
	Code  string
	Error string
	Stage string

	// Attempts is how often it was tried, AttemptTimes when each attempt failed.
	Attempts      int
	AttemptTimes  []time.Time
	FirstFailedAt time.Time
	LastFailedAt  time.Time

	// Topic, Partition, Offset and Timestamp are those of the record that failed.
	Topic     string
	Partition int
	Offset    int64
	Timestamp time.Time

	Group    string
	Redrives int
}

// Header is a name and a value.
type Header struct{ Name, Value string }

// Identify sets the id and the redrive count. A record that was redriven carries both headers
// and keeps them, so that its failures can be told to be the same order's. Without a count of
// at least 1 an id proves nothing (any producer can write such a header): the identity is then
// the place of the record itself, if that is known. header looks up a header of the record.
func (l *Letter) Identify(header func(name string) (string, bool)) {
	l.ID, l.Redrives = "", 0
	if l.Topic != "" && l.Partition >= 0 && l.Offset >= 0 {
		l.ID = l.Topic + "/" + strconv.Itoa(l.Partition) + "/" + strconv.FormatInt(l.Offset, 10)
	}
	count, _ := header(HeaderRedrives)
	id, _ := header(HeaderID)
	if n, err := strconv.Atoi(count); err == nil && n >= 1 && n <= maxSmall && id != "" && utf8.ValidString(id) && len(id) <= MaxText {
		l.ID, l.Redrives = id, n
	}
}

// Headers returns the letter as headers, in the order of Names.
func (l *Letter) Headers() []Header {
	h := make([]Header, 0, len(Names))
	text := func(name, value string) {
		if value != "" {
			h = append(h, Header{name, clean(value)})
		}
	}
	moment := func(name string, t time.Time) {
		if writable(t) {
			h = append(h, Header{name, formatTime(t)})
		}
	}
	text(HeaderID, l.ID)
	text(HeaderClass, l.Class)
	text(HeaderCode, l.Code)
	text(HeaderError, l.Error)
	text(HeaderStage, l.Stage)
	h = append(h, Header{HeaderAttempts, strconv.Itoa(l.Attempts)})
	text(HeaderAttemptTimes, formatTimes(l.AttemptTimes))
	moment(HeaderFirstFailedAt, l.FirstFailedAt)
	moment(HeaderLastFailedAt, l.LastFailedAt)
	text(HeaderTopic, l.Topic)
	if l.Partition >= 0 {
		h = append(h, Header{HeaderPartition, strconv.Itoa(l.Partition)})
	}
	if l.Offset >= 0 {
		h = append(h, Header{HeaderOffset, strconv.FormatInt(l.Offset, 10)})
	}
	moment(HeaderTimestamp, l.Timestamp)
	text(HeaderGroup, l.Group)
	return append(h, Header{HeaderRedrives, strconv.Itoa(l.Redrives)})
}

// Parse reads a letter from headers; of a name that repeats, the last counts. It accepts
// anything: what is missing or makes no sense is as if it were unknown. The second result
// tells whether any header of the dialect was there.
func Parse(headers []Header) (Letter, bool) {
	return Read(func(name string) (string, bool) {
		for i := len(headers) - 1; i >= 0; i-- {
			if headers[i].Name == name {
				return headers[i].Value, true
			}
		}
		return "", false
	})
}

// Read is Parse for headers that are looked up by name.
func Read(header func(name string) (string, bool)) (Letter, bool) {
	found := false
	text := func(name string) string {
		v, ok := header(name)
		found = found || ok
		return clean(v)
	}
	number := func(name string, unknown int64) int64 {
		n, err := strconv.ParseInt(text(name), 10, 64)
		if err != nil || n < 0 {
			return unknown
		}
		return n
	}
	small := func(name string, unknown int) int {
		n := number(name, int64(unknown))
		if n > maxSmall {
			return unknown
		}
		return int(n)
	}
	l := Letter{
		ID: text(HeaderID), Class: text(HeaderClass), Code: text(HeaderCode), Error: text(HeaderError), Stage: text(HeaderStage),
		Attempts:      small(HeaderAttempts, 0),
		AttemptTimes:  parseTimes(text(HeaderAttemptTimes)),
		FirstFailedAt: parseTime(text(HeaderFirstFailedAt)),
		LastFailedAt:  parseTime(text(HeaderLastFailedAt)),
		Topic:         text(HeaderTopic),
		Partition:     small(HeaderPartition, Unknown),
		Offset:        number(HeaderOffset, Unknown),
		Timestamp:     parseTime(text(HeaderTimestamp)),
		Group:         text(HeaderGroup),
		Redrives:      small(HeaderRedrives, 0),
	}
	return l, found
}

// clean makes s valid UTF-8 of at most MaxText bytes. Cleaning twice changes nothing.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD") // one for each run of broken bytes
	if len(s) <= MaxText {
		return s
	}
	end := MaxText - len(Truncated)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + Truncated
}

// writable tells whether a time is known, and can be written with a year of four digits.
func writable(t time.Time) bool {
	year := t.UTC().Year()
	return !t.IsZero() && year >= 0 && year <= 9999
}

func formatTime(t time.Time) string { return t.UTC().Format(timeFormat) }

func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !writable(t) {
		return time.Time{}
	}
	return t.UTC()
}

// formatTimes joins the times. Of very many it keeps the first half of the bound and the last
// half, which show both how it began and how it ended; dlq_attempts has the true number.
func formatTimes(times []time.Time) string {
	var b strings.Builder
	for i, t := range times {
		if !writable(t) || len(times) > MaxTimes && i >= MaxTimes/2 && i < len(times)-MaxTimes/2 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(formatTime(t))
	}
	return b.String()
}

func parseTimes(s string) []time.Time {
	var times []time.Time
	for part := range strings.SplitSeq(s, ",") {
		if t := parseTime(strings.TrimSpace(part)); !t.IsZero() {
			times = append(times, t)
		}
	}
	return times
}
