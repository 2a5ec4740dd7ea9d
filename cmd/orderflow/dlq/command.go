// Package dlq is the commands `dlq …`: what a person does with the dead letters of a topic.
package dlq

import (
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/dlq/redrive"
	"github.com/orderflow/orderflow/cmd/orderflow/exit"
)

// Command returns the command `dlq`.
func Command() *cli.Command {
	return exit.Strict(&cli.Command{
		Name:  "dlq",
		Usage: "See why orders failed, and send them again",
		Subcommands: []*cli.Command{
			listCommand(),
			showCommand(),
			redrive.Command(),
			redrive.RunsCommand(),
		},
	})
}
