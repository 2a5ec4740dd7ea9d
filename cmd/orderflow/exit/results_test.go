package exit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// broken takes no more than the first bytes.
type broken struct {
	room int
	err  error
}

func (b *broken) Write(p []byte) (int, error) {
	if b.room >= len(p) {
		b.room -= len(p)
		return len(p), nil
	}
	n := b.room
	b.room = 0
	return n, b.err
}

func TestResultsThatCannotBeWrittenAreAFailure(t *testing.T) {
	own := errors.New("it does not add up")
	tests := map[string]struct {
		out    io.Writer
		action error
		want   string
	}{
		"all written":           {io.Discard, nil, ""},
		"a full disk":           {&broken{err: syscall.ENOSPC}, nil, "writing results: no space left on device"},
		"full later":            {&broken{room: 8, err: syscall.ENOSPC}, nil, "writing results: no space left on device"},
		"told by the command":   {&broken{err: syscall.ENOSPC}, fmt.Errorf("printing: %w", syscall.ENOSPC), "writing results: no space left on device"},
		"and a failure":         {&broken{err: syscall.ENOSPC}, own, "writing results: no space left on device\nit does not add up"},
		"a failure only":        {io.Discard, own, "it does not add up"},
		"a reader that is gone": {&broken{room: 8, err: syscall.EPIPE}, nil, ""},
		"gone, and told so":     {&broken{err: syscall.EPIPE}, fmt.Errorf("printing: %w", syscall.EPIPE), ""},
		"gone, and a failure":   {&broken{err: syscall.EPIPE}, own, "it does not add up"},
	}
	for name, test := range tests {
		for _, argument := range []string{"", "ID"} {
			t.Run(name+argument, func(t *testing.T) {
				app := &cli.App{Name: "app", Writer: test.out, ErrWriter: io.Discard, Commands: []*cli.Command{Strict(&cli.Command{
					Name: "do", ArgsUsage: argument,
					Action: func(c *cli.Context) error {
						for range 3 {
							fmt.Fprintln(c.App.Writer, "result")
						}
						return test.action
					},
				})}}
				err := app.Run([]string{"app", "do"})
				if test.want == "" {
					require.NoError(t, err)
					return
				}
				require.EqualError(t, err, test.want)
				require.Equal(t, Failed, Code(err))
			})
		}
	}
}

func TestACommandEndsWhenItsResultsCannotBeWritten(t *testing.T) {
	app := &cli.App{Name: "app", Writer: &broken{err: syscall.ENOSPC}, ErrWriter: io.Discard, Commands: []*cli.Command{Strict(&cli.Command{
		Name: "watch",
		Action: func(c *cli.Context) error {
			fmt.Fprintln(c.App.Writer, "ready")
			<-c.Context.Done()
			return c.Context.Err()
		},
	})}}
	require.EqualError(t, app.Run([]string{"app", "watch"}), "writing results: no space left on device")
}

func TestHelpThatCannotBeWrittenIsNoticed(t *testing.T) {
	before := cli.HelpPrinter
	defer func() { cli.HelpPrinter = before }()
	failed := WatchHelp()
	help := func(out io.Writer) {
		app := &cli.App{Name: "app", Writer: out, Commands: []*cli.Command{Strict(&cli.Command{Name: "do", Usage: "Do it"})}}
		require.NoError(t, app.Run([]string{"app", "do", "--help"}))
	}
	var text bytes.Buffer
	help(&text)
	require.Contains(t, text.String(), "Do it")
	help(&broken{err: syscall.EPIPE})
	require.NoError(t, failed())
	help(&broken{err: syscall.ENOSPC})
	require.EqualError(t, failed(), "writing results: no space left on device")
}
