// Package exit gives the commands their exit status: 0 done, 1 failed, 2 called in a wrong way.
package exit

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/environment"
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

// Arguments returns the arguments of a command. Flags may also stand behind them, where the
// library does not look for any.
func Arguments(c *cli.Context) ([]string, error) {
	var args []string
	rest := c.Args().Slice()
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		if !strings.HasPrefix(word, "-") || word == "-" {
			args = append(args, word)
			continue
		}
		name, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		i := slices.IndexFunc(c.Command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
		if i < 0 {
			return nil, Usage(c, fmt.Errorf("flag provided but not defined: %s", word))
		}
		if _, isBool := c.Command.Flags[i].(*cli.BoolFlag); !given && isBool {
			value, given = "true", true
		}
		if !given && len(rest) == 0 {
			return nil, Usage(c, fmt.Errorf("flag needs an argument: %s", word))
		}
		if !given {
			value, rest = rest[0], rest[1:]
		}
		if err := c.Set(c.Command.Flags[i].Names()[0], value); err != nil { // an alias is not looked up
			return nil, Usage(c, fmt.Errorf("invalid value %q for flag %s: %w", value, word, err))
		}
	}
	return args, nil
}

// Strict makes a command refuse unknown flags, arguments it does not take and unknown
// subcommands, with the status for wrong usage. A command with an ArgsUsage takes arguments. It
// also fails if its results could not be written, and its flags read their variables as pipelines
// do.
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
	cmd.Flags = slices.Concat([]cli.Flag{variablesOf(cmd.Flags)}, cmd.Flags)
	action := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		if cmd.ArgsUsage == "" && c.Args().Present() {
			return Usage(c, fmt.Errorf("unexpected argument %q", c.Args().First()))
		}
		return written(c, action)
	}
	return cmd
}

// variables is no flag. It stands before the flags of a command, and cleans the variables that
// they read: that moment is the only one after a .env file was read and before the flags are.
type variables []string

func variablesOf(flags []cli.Flag) variables {
	var names variables
	for _, f := range flags {
		if doc, ok := f.(cli.DocGenerationFlag); ok {
			names = append(names, doc.GetEnvVars()...)
		}
	}
	return names
}

func (v variables) Apply(*flag.FlagSet) error { return environment.Clean(v...) }
func (v variables) String() string            { return "" }
func (v variables) Names() []string           { return nil }
func (v variables) IsSet() bool               { return false }
