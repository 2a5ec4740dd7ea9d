package deadletter

import (
	"fmt"
	"slices"
	"strings"
)

// Dialect is a set of header names and encodings.
type Dialect string

// The dialects that a letter can be written in.
const (
	Native   Dialect = "native"
	Spring   Dialect = "spring"   // the recoverer of Spring for Apache Kafka
	Connect  Dialect = "connect"  // Kafka Connect
	Streams  Dialect = "streams"  // Kafka Streams
	SmallRye Dialect = "smallrye" // SmallRye Reactive Messaging
)

// Dialects lists them, the default first.
var Dialects = []Dialect{Native, Spring, Connect, Streams, SmallRye}

// These are only read.
const (
	share       Dialect = "share"        // what brokers write for share groups
	springRetry Dialect = "spring-retry" // the retry topics of Spring for Apache Kafka
)

// columns holds the headers of each dialect in the order in which they are written.
var columns = map[Dialect][]column{
	Native: nativeColumns, Spring: springColumns, Connect: connectColumns, Streams: streamsColumns,
	SmallRye: smallryeColumns, share: shareColumns, springRetry: springRetryColumns,
}

// foreign lists the dialects of others in the order in which they are looked for. What went through
// Spring's retry topics says there where it came from first, whatever recoverer it met at their end.
var foreign = []Dialect{springRetry, Spring, Connect, Streams, SmallRye, share}

// families begin the names that the dialects of others keep for themselves. SmallRye has none
// that could not be a user's own.
var families = []string{
	"kafka_dlt-", "kafka_original-", "kafka_exception-", "kafka_key-exception-", "retry_topic-",
	"__connect.errors.", "__streams.errors.", "__dlq.errors.",
}

// written holds, for each dialect, its own headers and behind them the native ones that say what
// it cannot say.
var written = func() map[Dialect][]column {
	all := map[Dialect][]column{}
	for _, d := range Dialects {
		list := slices.Clone(columns[d])
		for _, c := range nativeColumns {
			said := slices.ContainsFunc(columns[d], func(own column) bool { return own.native == c.name })
			if d != Native && !said {
				list = append(list, c)
			}
		}
		all[d] = list
	}
	return all
}()

// ours holds the names of all headers of all dialects.
var ours = func() map[string]bool {
	names := map[string]bool{}
	for _, list := range columns {
		for _, c := range list {
			names[c.name] = true
		}
	}
	return names
}()

// ParseDialect returns the dialect of this name.
func ParseDialect(name string) (Dialect, error) {
	if d := Dialect(name); slices.Contains(Dialects, d) {
		return d, nil
	}
	return "", fmt.Errorf("dialect %q: want one of %v", name, Dialects)
}

// IsOurs tells whether a header of this name belongs to a dead letter, in whatever dialect. When
// a record fails again such headers are replaced, since they tell of an older failure.
func IsOurs(name string) bool {
	return ours[name] || slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(name, f) })
}

// Headers returns the letter as headers of a dialect: all that is known, each fact once. Each
// text takes MaxText bytes at most, all together MaxTexts.
func (l *Letter) Headers(d Dialect) []Header {
	list := written[d]
	h := make([]Header, 0, len(list))
	left := MaxTexts
	for _, c := range list {
		value, known := c.write(l)
		if !known {
			continue
		}
		if !c.binary {
			if value = clean(value, min(MaxText, left)); value == "" {
				continue
			}
		}
		left -= len(value)
		h = append(h, Header{c.name, []byte(value)})
	}
	return h
}

// Parse reads a letter from headers of any dialect; of a name that repeats, the last counts. It
// accepts anything: what is missing or makes no sense is as if it were unknown. The second
// result tells whether any header of a dialect was there.
func Parse(headers []Header) (Letter, bool) {
	return Read(func(name string) ([]byte, bool) {
		for i := len(headers) - 1; i >= 0; i-- {
			if headers[i].Name == name {
				return headers[i].Value, true
			}
		}
		return nil, false
	})
}

// Read is Parse for headers that are looked up by name.
//
// A record that says in the native dialect where it was or what failed is read in that one alone.
// Else the first dialect of which there is a header counts, completed by what the native headers
// say.
func Read(header func(name string) ([]byte, bool)) (Letter, bool) {
	l := Letter{Partition: Unknown, Offset: Unknown}
	has := func(name string) bool { _, ok := header(name); return ok }
	d := dialectOf(has)
	if d != Native {
		l.read(columns[d], header)
	}
	return l, l.read(nativeColumns, header) || d != Native
}

// dialectOf tells which dialect a letter is in, by the names of its headers.
func dialectOf(has func(name string) bool) Dialect {
	if has(HeaderTopic) || has(HeaderError) {
		return Native
	}
	for _, d := range foreign {
		if slices.ContainsFunc(columns[d], func(c column) bool { return !c.aside && has(c.name) }) {
			return d
		}
	}
	return Native
}

// SaysWhereOnly tells whether a letter that has neither key nor value has no record in it, and only
// says where that is. A broker writes such letters for share groups that are not configured to copy
// records, and this product for an order that was not read.
func SaysWhereOnly(header func(name string) ([]byte, bool)) bool {
	if code, ok := header(HeaderCode); ok && string(code) == CodeUnread {
		return true
	}
	return dialectOf(func(name string) bool { _, ok := header(name); return ok }) == share
}

// read takes over what the headers of a dialect say, and tells whether there were any.
func (l *Letter) read(list []column, header func(name string) ([]byte, bool)) bool {
	found := false
	for _, c := range list {
		value, ok := header(c.name)
		if !ok {
			continue
		}
		found = true
		text := string(value)
		if !c.binary {
			text = clean(text, MaxText)
		}
		c.read(l, text)
	}
	return found
}
