package exit

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

func TestStatusOfACall(t *testing.T) {
	tests := map[string]struct {
		args []string
		code int
		says string
	}{
		"done":                 {[]string{"do"}, OK, ""},
		"done with a flag":     {[]string{"do", "--n", "3"}, OK, ""},
		"failed":               {[]string{"do", "--n", "0"}, Failed, "n is 0"},
		"help":                 {[]string{"do", "--help"}, OK, ""},
		"an unknown flag":      {[]string{"do", "--m", "3"}, Wrong, "flag provided but not defined: -m\nRun 'app do --help' for usage."},
		"a value of no number": {[]string{"do", "--n", "x"}, Wrong, `invalid value "x" for flag -n`},
		"an argument":          {[]string{"do", "this"}, Wrong, `unexpected argument "this"`},
		"a group, no command":  {[]string{"group"}, Wrong, "no command given\nRun 'app group --help' for usage."},
		"an unknown command":   {[]string{"group", "undo"}, Wrong, `unknown command "undo"`},
		"in a group, done":     {[]string{"group", "do"}, OK, ""},
		"in a group, wrong":    {[]string{"group", "do", "this"}, Wrong, "Run 'app group do --help' for usage."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			do := func() *cli.Command {
				return &cli.Command{
					Name:  "do",
					Flags: []cli.Flag{&cli.IntFlag{Name: "n", Value: 1}},
					Action: func(c *cli.Context) error {
						if c.Int("n") == 0 {
							return fmt.Errorf("doing: %w", errors.New("n is 0"))
						}
						return nil
					},
				}
			}
			app := &cli.App{
				Name: "app", HelpName: "app", Writer: io.Discard, ErrWriter: io.Discard,
				Commands: []*cli.Command{Strict(do()), Strict(&cli.Command{Name: "group", Subcommands: []*cli.Command{do()}})},
			}
			err := app.Run(append([]string{"app"}, test.args...))
			require.Equal(t, test.code, Code(err), "%v", err)
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
			}
		})
	}
}

func TestCodeSeesThroughWrapping(t *testing.T) {
	err := Usage(&cli.Context{Command: &cli.Command{HelpName: "app do"}}, errors.New("no"))
	require.Equal(t, Wrong, Code(fmt.Errorf("running: %w", err)))
}

func TestFlagsMayStandBehindArguments(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
		says string
	}{
		"before":                     {[]string{"--n", "2", "--all", "x"}, "[x] 2 true", ""},
		"behind":                     {[]string{"x", "--n", "2", "--all"}, "[x] 2 true", ""},
		"on both sides":              {[]string{"--all", "x", "--n=2", "y"}, "[x y] 2 true", ""},
		"by its short name":          {[]string{"x", "-m", "2"}, "[x] 2 false", ""},
		"a boolean with a value":     {[]string{"--all", "x", "--all=false"}, "[x] 1 false", ""},
		"no flag, but one sign":      {[]string{"x", "-"}, "[x -] 1 false", ""},
		"an unknown one":             {[]string{"x", "--k"}, "", "flag provided but not defined: --k\nRun 'app do --help' for usage."},
		"one that lacks its value":   {[]string{"x", "--n"}, "", "flag needs an argument: --n"},
		"one with a wrong value":     {[]string{"x", "--n", "y"}, "", `invalid value "y" for flag --n`},
		"a wrong value, in one word": {[]string{"x", "--all=maybe"}, "", `invalid value "maybe" for flag --all=maybe`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			app := &cli.App{Name: "app", HelpName: "app", Writer: io.Discard, ErrWriter: io.Discard, Commands: []*cli.Command{Strict(&cli.Command{
				Name: "do", ArgsUsage: "X",
				Flags: []cli.Flag{&cli.IntFlag{Name: "n", Aliases: []string{"m"}, Value: 1}, &cli.BoolFlag{Name: "all"}},
				Action: func(c *cli.Context) error {
					args, err := Arguments(c)
					if err == nil {
						got = fmt.Sprint(args, c.Int("n"), c.Bool("all"))
					}
					return err
				},
			})}}
			err := app.Run(append([]string{"app", "do"}, test.args...))
			require.Equal(t, test.want, got)
			if test.says != "" {
				require.Equal(t, Wrong, Code(err))
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
		})
	}
}
