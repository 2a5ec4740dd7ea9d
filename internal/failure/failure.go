// Package failure gives errors a class and a code, so that whoever meets one knows whether
// trying again can help and what to call it. It wraps ordinary Go errors: errors.As and
// errors.Is see through it.
package failure

import (
	"errors"
	"time"
)

// Class says whether trying again can help.
type Class string

const (
	// Permanent failures stay failures: a broken record, a broken rule. They are never retried.
	Permanent Class = "permanent"
	// Transient failures may pass: a timeout, a busy service.
	Transient Class = "transient"
)

// Unclassified is the code of an error that carries none, such as one of a stock processor.
const Unclassified = "unclassified"

// Error is an error with a class and a code. A code is a short snake_case word that stays
// the same over releases, since people filter and alert on it.
type Error struct {
	Class Class
	Code  string
	Err   error

	unavailable bool
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NewPermanent marks err as one that no retry can cure.
func NewPermanent(code string, err error) error {
	return &Error{Class: Permanent, Code: code, Err: err}
}

// NewTransient marks err as one that may pass.
func NewTransient(code string, err error) error {
	return &Error{Class: Transient, Code: code, Err: err}
}

// NewUnavailable marks err as one that says nothing of the message, since what was needed to judge
// it did not answer. It is transient. However often a message fails so, that counts against none of
// its retries and makes no dead letter of it.
func NewUnavailable(code string, err error) error {
	return &Error{Class: Transient, Code: code, Err: err, unavailable: true}
}

// Unavailable tells whether err was marked by NewUnavailable.
func Unavailable(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.unavailable
}

// Of returns the class and code of err. An error that carries none is transient, since only
// what is known to be permanent may be given up at once, and its code is Unclassified.
func Of(err error) (Class, string) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class, e.Code
	}
	return Transient, Unclassified
}

// History is an error together with what was tried: when each attempt failed, oldest first,
// and the stage (component) that failed last. Its text is that of the error it wraps.
type History struct {
	Attempts []time.Time
	Stage    string
	Err      error
}

func (h *History) Error() string { return h.Err.Error() }

// Unwrap returns the error of the last attempt.
func (h *History) Unwrap() error { return h.Err }

// Stage returns the stage that a message failed at, as far as its error knows, else "".
func Stage(err error) string {
	if h, ok := errors.AsType[*History](err); ok && h.Stage != "" {
		return h.Stage
	}
	if s, ok := errors.AsType[*staged](err); ok {
		return s.stage
	}
	return ""
}

// At says at which stage (component) err came up. Its text stays that of err. The host does
// not keep it: an error that a processor sets on a message has no component.
func At(stage string, err error) error { return &staged{stage: stage, err: err} }

type staged struct {
	stage string
	err   error
}

func (s *staged) Error() string { return s.err.Error() }
func (s *staged) Unwrap() error { return s.err }
