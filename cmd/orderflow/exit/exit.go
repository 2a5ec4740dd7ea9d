// Package exit gives the commands their exit status: 0 done, 1 failed, 2 called in a wrong way.
package exit

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"
)

// The exit statuses. The library's own cli.Exit is not used: it ends the process at once, before
// the main function could print anything.
const (
	OK     = 0
	Failed = 1
	Wrong  = 2
)

// usageError says that a command was called in a wrong way.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v\nRun '%s --help' for usage.", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

// Usage marks err as wrong usage of the command that is running.
func Usage(c *cli.Context, err error) error {
	return &usageError{command: c.Command.HelpName, err: err}
}

// Code returns the exit status for an error.
func Code(err error) int {
	if err == nil {
		return OK
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return Wrong
	}
	return Failed
}

// Strict makes a command refuse unknown flags, arguments it does not take and unknown
// subcommands, with the status for wrong usage.
func Strict(cmd *cli.Command) *cli.Command {
	cmd.OnUsageError = func(c *cli.Context, err error, _ bool) error { return Usage(c, err) }
	if len(cmd.Subcommands) > 0 {
		for _, sub := range cmd.Subcommands {
			Strict(sub)
		}
		cmd.Action = func(c *cli.Context) error {
			if c.Args().Present() {
				return Usage(c, fmt.Errorf("unknown command %q", c.Args().First()))
			}
			return Usage(c, errors.New("no command given"))
		}
		return cmd
	}
	action := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return Usage(c, fmt.Errorf("unexpected argument %q", c.Args().First()))
		}
		return action(c)
	}
	return cmd
}
