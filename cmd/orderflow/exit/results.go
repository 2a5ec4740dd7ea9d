package exit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"
)

// results is where a command writes its results. It remembers that it could not, since hardly
// anybody asks after each line.
type results struct {
	out    io.Writer
	failed func() // called once

	mu  sync.Mutex
	err error
}

func (r *results) Write(p []byte) (int, error) {
	n, err := r.out.Write(p)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.err == nil {
			r.err = err
			r.failed()
		}
	}
	return n, err
}

func (r *results) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// written runs a command. It ends early and fails if its results cannot be written. Only if
// their reader has gone, as head does when it has seen enough, nobody wants to know.
func written(c *cli.Context, action cli.ActionFunc) error {
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	r := &results{out: c.App.Writer, failed: cancel}
	c.Context, c.App.Writer = ctx, r
	defer func() { c.App.Writer = r.out }()
	err := action(c)
	switch lost := r.Err(); {
	case lost == nil:
		return err
	case err != nil && !errors.Is(err, lost) && !errors.Is(err, context.Canceled):
		return errors.Join(unwritten(lost), err)
	default:
		return unwritten(lost)
	}
}

func unwritten(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return fmt.Errorf("writing results: %w", err)
}

// WatchHelp returns what tells, after all, whether help texts could be written.
func WatchHelp() (failed func() error) {
	var lost error
	show := cli.HelpPrinter
	cli.HelpPrinter = func(w io.Writer, template string, data any) {
		var text bytes.Buffer
		show(&text, template, data)
		if _, err := w.Write(text.Bytes()); err != nil {
			lost = unwritten(err)
		}
	}
	return func() error { return lost }
}

// Terminal tells whether results are written to a terminal that can redraw a line.
func Terminal(out io.Writer) bool {
	if r, ok := out.(*results); ok {
		out = r.out
	}
	f, ok := out.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}
