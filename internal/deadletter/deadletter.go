// Package deadletter is what a dead letter says about its failure: the headers, their names
// and encodings in the dialects that are in use, and how to read them again. It knows neither
// the host nor Kafka.
package deadletter

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Names of the headers in the native dialect. Values are UTF-8 text; times are RFC 3339 in
// UTC with milliseconds. The other dialects use those of them for which they have no header.
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

// CodeUnread is the code of an order that was not read, since its batch on Kafka was too large
// without its compression.
const CodeUnread = "batch_too_large"

// MetaMark is the metadata that marks a message as a dead letter. It is the boolean true, which no
// record header can be: headers are strings.
const MetaMark = "dead_letter"

const (
	// MaxText is the most bytes that a text in a header takes, its mark of truncation included.
	MaxText = 4096
	// MaxTexts is the most bytes that all headers of a letter take together.
	MaxTexts = 16 << 10
	// Truncated ends a text that was cut.
	Truncated = "… (truncated)"
	// MaxTimes is how many attempt times are written: the first ones and the last.
	MaxTimes = 64
	// Unknown is a partition or offset that is not known.
	Unknown = -1

	timeFormat = "2006-01-02T15:04:05.000Z"
)

// Letter is what is known of a failure. A field that is empty, a zero time and a partition or
// offset of Unknown are left out of the headers.
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

// Header is a name and a value, which is nil where it is null.
type Header struct {
	Name  string
	Value []byte
}

// Origin is the place of the record that failed, topic/partition/offset, or "" if it is not known.
func (l *Letter) Origin() string {
	if l.Topic == "" || l.Partition < 0 || l.Offset < 0 {
		return ""
	}
	return l.Topic + "/" + strconv.Itoa(l.Partition) + "/" + strconv.FormatInt(l.Offset, 10)
}

// Identify sets the id and the redrive count. A record that was redriven carries both headers
// and keeps them, so that its failures can be told to be the same order's. Without a count of
// at least 1 an id proves nothing (any producer can write such a header): the identity is then
// the place of the record itself, if that is known. With a count it is still what the producer says:
// whoever reads letters asks the marks. header looks up a header of the record.
func (l *Letter) Identify(header func(name string) (string, bool)) {
	l.ID, l.Redrives = l.Origin(), 0
	count, _ := header(HeaderRedrives)
	id, _ := header(HeaderID)
	if n, err := strconv.Atoi(count); err == nil && n >= 1 && n <= maxSmall && id != "" && utf8.ValidString(id) && len(id) <= MaxText {
		l.ID, l.Redrives = id, n
	}
}

// clean makes s valid UTF-8 of at most that many bytes. Cleaning twice changes nothing. What has
// no room even for the mark of truncation is empty.
func clean(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD") // one for each run of broken bytes
	if len(s) <= most {
		return s
	}
	end := most - len(Truncated)
	if end <= 0 {
		return ""
	}
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + Truncated
}

// writable tells whether a time is known, and can be written with a year of four digits, of our era.
// A reader of RFC 3339 would take no other.
func writable(t time.Time) bool {
	year := t.UTC().Year()
	return !t.IsZero() && year >= 1 && year <= 9999
}

// maxMillis is the end of the year 9999.
const maxMillis = 253402300799999

// Millis is the time of a record's timestamp in milliseconds since 1970. It is the zero time where
// the record has none, which brokers give as -1, and where no date can be written for it: any
// producer can write any number.
func Millis(ms int64) time.Time {
	if ms < 0 || ms > maxMillis {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// stamp returns t if a record can have it as its timestamp, else the zero time.
func stamp(t time.Time) time.Time {
	if !writable(t) || t.Before(time.Unix(0, 0)) {
		return time.Time{}
	}
	return t
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
