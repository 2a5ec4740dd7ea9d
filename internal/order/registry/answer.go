package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

// verdict is what came of a question.
type verdict int

const (
	// known: there is an answer, and it is what was asked for.
	known verdict = iota
	// unknown: the registry says in its own words that it does not know it.
	unknown
	// final: the registry, or our reading of its answer, refuses it for good.
	final
	// gone and forbidden: somebody says that it is not there, or not for us. It may be the registry,
	// and so an answer on what was asked for; or a proxy, a wrong path, a wrong password.
	gone
	forbidden
	// silent: an error that says nothing of what was asked for.
	silent
	// away: nobody was there to answer.
	away
)

// judge sorts what a question has failed with.
func judge(err error) verdict {
	if _, ours := errors.AsType[*failure.Error](err); ours {
		return final
	}
	answer, ok := errors.AsType[*sr.ResponseError](err)
	if !ok {
		if unfinished(err) {
			return silent
		}
		return away
	}
	switch status := answer.StatusCode; status {
	case http.StatusNotFound:
		if answer.ErrorCode/100 == http.StatusNotFound { // 40401 and up, which only a registry has
			return unknown
		}
		return gone
	case http.StatusGone:
		return gone
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		if answer.ErrorCode != 0 {
			return final
		}
		return forbidden
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return silent
	default:
		if status >= 400 && status < 500 {
			return forbidden
		}
		return silent
	}
}

// unfinished tells that somebody took the question, and that what came back was no answer: nothing
// in time, an end too early, or no JSON of a registry.
func unfinished(err error) bool {
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return true
	}
	for _, end := range []error{context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	_, fromNet := errors.AsType[*net.OpError](err)
	_, noJSON := errors.AsType[*json.SyntaxError](err)
	_, otherJSON := errors.AsType[*json.UnmarshalTypeError](err)
	return !fromNet && (noJSON || otherJSON || errors.Is(err, errNoID) || errors.Is(err, errNoSchema))
}

// errNoSchema and errNoID are what a question is answered with by what is no registry.
var (
	errNoSchema = errors.New("the registry answered without a schema")
	errNoID     = errors.New("the registry answered without a schema id")
)

// part is why a part of what was asked for cannot be had.
type part struct {
	what string
	err  error
}

func (p *part) Error() string { return p.what + ": " + p.err.Error() }
func (p *part) Unwrap() error { return p.err }

// name says what an error is about, which may be a part of what was asked for.
func name(what string, err error) string {
	if p, ok := errors.AsType[*part](err); ok {
		return what + ": " + p.what
	}
	return what
}

// said is an error as text for people: short, whatever page it came with.
func said(err error) error {
	if p, ok := errors.AsType[*part](err); ok {
		err = p.err
	}
	answer, ok := errors.AsType[*sr.ResponseError](err)
	if !ok {
		return err
	}
	text := answer.Message
	if answer.ErrorCode == 0 {
		text = string(answer.Raw)
	}
	if quoted := strconv.Quote(text); len(text) > mostSaid || quoted[1:len(quoted)-1] != text || answer.ErrorCode == 0 {
		text = order.Clip(text)
	}
	if answer.ErrorCode >= 10_000 && answer.StatusCode < 500 { // the registry's own words
		return errors.New(text)
	}
	status := strings.TrimSpace(fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode)))
	if len(answer.Raw) == 0 {
		return errors.New(status)
	}
	return fmt.Errorf("%s: %s", status, text)
}

// mostSaid bounds a registry's words.
const mostSaid = 300

func refuse(code, format string, args ...any) error {
	return failure.NewPermanent(code, fmt.Errorf(format, args...))
}

func unavailable(format string, args ...any) error {
	return failure.NewUnavailable(CodeUnavailable, fmt.Errorf(format, args...))
}
