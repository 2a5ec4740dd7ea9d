// Package dlq is the commands `dlq …`: what a person does with the dead letters of a topic.
package dlq

import (
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
)

// Command returns the command `dlq`.
func Command() *cli.Command {
	return exit.Strict(&cli.Command{
		Name:  "dlq",
		Usage: "Look at dead letters",
		Subcommands: []*cli.Command{
			listCommand(),
			showCommand(),
		},
	})
}
