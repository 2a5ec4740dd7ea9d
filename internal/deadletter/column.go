package deadletter

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"
)

// column is one header of a dialect.
type column struct {
	name string
	// native is the native header that says exactly the same, "" if there is none.
	native string
	// aside is set where a letter of another dialect may have the header too: it does not tell which
	// dialect a letter is in.
	aside bool
	// binary values are no text, and never cut.
	binary bool
	// write returns the value, and whether the letter knows it.
	write func(*Letter) (value string, known bool)
	// read takes over a value that makes sense.
	read func(l *Letter, value string)
}

func aside(c column) column {
	c.aside = true
	return c
}

// text is a text of the letter. An empty one is not known.
func text(name, native string, of func(*Letter) *string) column {
	return column{
		name: name, native: native,
		write: func(l *Letter) (string, bool) { return *of(l), *of(l) != "" },
		read:  func(l *Letter, value string) { *of(l) = value },
	}
}

// number is a number in digits. A negative one is not known.
func number[N int | int64](name, native string, most N, of func(*Letter) *N) column {
	return column{
		name: name, native: native,
		write: func(l *Letter) (string, bool) { return strconv.FormatInt(int64(*of(l)), 10), *of(l) >= 0 },
		read: func(l *Letter, value string) {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 && n <= int64(most) {
				*of(l) = N(n)
			}
		},
	}
}

// bigEndian is a number in 4 or 8 bytes. A negative one is not known.
func bigEndian[N int | int64](name, native string, size int, of func(*Letter) *N) column {
	return column{
		name: name, native: native, binary: true,
		write: func(l *Letter) (string, bool) { return putBigEndian(int64(*of(l)), size), *of(l) >= 0 },
		read: func(l *Letter, value string) {
			if n, ok := getBigEndian(value, size); ok && n >= 0 {
				*of(l) = N(n)
			}
		},
	}
}

// millis is the timestamp of the record, in milliseconds as 8 bytes.
func millis(name string) column {
	return column{
		name: name, native: HeaderTimestamp, binary: true,
		write: func(l *Letter) (string, bool) {
			return putBigEndian(l.Timestamp.UnixMilli(), 8), !stamp(l.Timestamp).IsZero()
		},
		read: func(l *Letter, value string) {
			if ms, ok := getBigEndian(value, 8); ok && !Millis(ms).IsZero() {
				l.Timestamp = Millis(ms)
			}
		},
	}
}

func putBigEndian(n int64, size int) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(n))[8-size:])
}

func getBigEndian(value string, size int) (int64, bool) {
	switch {
	case len(value) != size:
		return 0, false
	case size == 4:
		return int64(int32(binary.BigEndian.Uint32([]byte(value)))), true
	default:
		return int64(binary.BigEndian.Uint64([]byte(value))), true
	}
}

// shortBigEndian reads a number of two's complement in as many bytes as it takes, as Java's
// BigInteger writes it.
func shortBigEndian(value string) (int64, bool) {
	if value == "" || len(value) > 8 {
		return 0, false
	}
	n := int64(int8(value[0]))
	for i := 1; i < len(value); i++ {
		n = n<<8 | int64(value[i])
	}
	return n, true
}

// moment is a time as RFC 3339 in UTC with milliseconds.
func moment(name, native string, of func(*Letter) *time.Time) column {
	return column{
		name: name, native: native,
		write: func(l *Letter) (string, bool) { return formatTime(*of(l)), writable(*of(l)) },
		read:  func(l *Letter, value string) { *of(l) = parseTime(value) },
	}
}

// exceptionPrefix begins the names under which dialects of Java programs get our codes.
const exceptionPrefix = "orderflow."

// exception is the class of an exception, for which we have a code. A later one of a dialect that
// overrides is closer to the cause than the one before.
func exception(name string, overrides bool) column {
	return column{
		name:  name,
		write: func(l *Letter) (string, bool) { return exceptionPrefix + l.Code, l.Code != "" },
		read: func(l *Letter, value string) {
			if l.Code == "" || overrides && value != "" {
				l.Code = strings.TrimPrefix(value, exceptionPrefix)
			}
		},
	}
}

// trace is a stack trace, for which we have the error. Of one that is read the first line is the
// error, if nothing else tells it.
func trace(name string) column {
	return column{
		name:  name,
		write: func(l *Letter) (string, bool) { return l.Error, l.Error != "" },
		read: func(l *Letter, value string) {
			if l.Error == "" {
				l.Error, _, _ = strings.Cut(value, "\n")
			}
		},
	}
}

// constant is a header that a dialect wants and that tells nothing. It is there when the letter
// knows its topic.
func constant(name, value string) column {
	return column{
		name:  name,
		write: func(l *Letter) (string, bool) { return value, l.Topic != "" },
		read:  func(*Letter, string) {},
	}
}

const (
	maxSmall = math.MaxInt32
	maxLarge = math.MaxInt64
)

func errorOf(l *Letter) *string  { return &l.Error }
func stageOf(l *Letter) *string  { return &l.Stage }
func topicOf(l *Letter) *string  { return &l.Topic }
func groupOf(l *Letter) *string  { return &l.Group }
func partitionOf(l *Letter) *int { return &l.Partition }
func offsetOf(l *Letter) *int64  { return &l.Offset }
func attemptsOf(l *Letter) *int  { return &l.Attempts }
