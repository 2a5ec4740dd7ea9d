// Package fields reads a component's config fields one after the other and keeps the first error,
// so that it has to be looked at once, at the end. An error names its field and the value.
package fields

import (
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// Reader reads the fields of one config. After an error it goes on, with zero values.
type Reader struct {
	conf *service.ParsedConfig
	err  error
}

// Of makes a reader of a config.
func Of(conf *service.ParsedConfig) *Reader { return &Reader{conf: conf} }

// Err is the first error.
func (r *Reader) Err() error { return r.err }

// Fail adds what else is wrong with a field, if err is not nil.
func (r *Reader) Fail(name string, err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("field %s: %w", name, err)
	}
}

// Optional reads a text that may be empty.
func (r *Reader) Optional(name string) string {
	v, err := r.conf.FieldString(name)
	r.Fail(name, err)
	return v
}

// Text reads a text that must not be empty.
func (r *Reader) Text(name string) string {
	v := r.Optional(name)
	if v == "" {
		r.Fail(name, errors.New("is empty"))
	}
	return v
}

// List reads a list of texts.
func (r *Reader) List(name string) []string {
	v, err := r.conf.FieldStringList(name)
	r.Fail(name, err)
	return v
}

// Bool reads true or false.
func (r *Reader) Bool(name string) bool {
	v, err := r.conf.FieldBool(name)
	r.Fail(name, err)
	return v
}

// Duration reads a duration from low to high.
func (r *Reader) Duration(name string, low, high time.Duration) time.Duration {
	v, err := r.conf.FieldDuration(name)
	r.Fail(name, err)
	if err == nil && (v < low || v > high) {
		r.Fail(name, fmt.Errorf("%s is out of range: from %s to %s", v, low, high))
	}
	return v
}

// Number reads a whole number from low to high.
func (r *Reader) Number(name string, low, high int) int {
	v, err := r.conf.FieldInt(name)
	r.Fail(name, err)
	if err == nil && (v < low || v > high) {
		r.Fail(name, fmt.Errorf("%d is out of range: from %d to %d", v, low, high))
	}
	return v
}

// Bytes reads a size such as 256MB from low to high.
func (r *Reader) Bytes(name string, low, high int) int {
	text := r.Text(name)
	v, err := humanize.ParseBytes(text)
	switch {
	case r.err != nil:
	case err != nil:
		r.Fail(name, fmt.Errorf("%q: want a size such as 64MB or 1GiB", text))
	case v < uint64(low) || v > uint64(high):
		r.Fail(name, fmt.Errorf("%q is out of range: from %s to %s", text, humanize.IBytes(uint64(low)), humanize.IBytes(uint64(high))))
	}
	return int(v)
}

// AtLeast reads a whole number that is not below low.
func (r *Reader) AtLeast(name string, low int) int {
	v, err := r.conf.FieldInt(name)
	r.Fail(name, err)
	if err == nil && v < low {
		r.Fail(name, fmt.Errorf("%d: want a number of at least %d", v, low))
	}
	return v
}

// Interval reads the time between two reports, of which there are none if it is 0s.
func (r *Reader) Interval(name string) time.Duration {
	text := r.Optional(name)
	v, err := time.ParseDuration(text)
	if err != nil || v < 0 {
		r.Fail(name, fmt.Errorf("%q: want a duration such as 10s, or 0s for none", text))
	}
	return v
}
