package demo

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
)

const (
	flagCount    = "count"
	flagInterval = "interval"
	flagSeed     = "seed"
	flagRate     = "failure-rate"
	flagMode     = "failure-mode"
	flagKeep     = "keep"

	modeSticky    = "sticky"
	modeTransient = "transient"
)

// Command returns the command `demo`.
func Command() *cli.Command {
	return exit.Strict(&cli.Command{
		Name:  "demo",
		Usage: "Run producer, consumer and dead-letter monitor on an embedded broker",
		Description: `Needs nothing installed. Runs an embedded broker and schema registry, and the three pipelines as
processes of their own; shows the orders as they are processed, retried and dead-lettered; then
prints the pipelines' summaries and checks from the broker that no order is missing.

  orderflow demo
  orderflow demo --count 200 --interval 20ms --failure-rate 0.3
  orderflow demo --failure-mode transient
  orderflow demo --keep

Exit status: 0 if in = processed + dead-lettered, 1 if not or if something failed, 2 for a wrong call.`,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: flagCount, Usage: "how many orders", Value: 50},
			&cli.DurationFlag{Name: flagInterval, Usage: "time between two orders", Value: 150 * time.Millisecond},
			&cli.Int64Flag{Name: flagSeed, Usage: "seed of the orders and of the simulated failures", Value: 1},
			&cli.Float64Flag{Name: flagRate, Usage: "share of orders that fail, from 0 to 1", Value: 0.15},
			&cli.StringFlag{Name: flagMode, Usage: "sticky (such an order fails each time) or transient (it recovers)", Value: modeSticky},
			&cli.BoolFlag{Name: flagKeep, Usage: "leave everything running at the end, and show commands to look around"},
		},
		Action: action,
	})
}

func action(c *cli.Context) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding our own executable: %w", err)
	}
	o := Options{
		Count:       c.Int(flagCount),
		Interval:    c.Duration(flagInterval),
		Seed:        c.Int64(flagSeed),
		FailureRate: c.Float64(flagRate),
		FailureMode: c.String(flagMode),
		Keep:        c.Bool(flagKeep),
		Executable:  executable,
	}
	if err := o.Check(); err != nil {
		return exit.Usage(c, err)
	}
	o.Terminal = exit.Terminal(c.App.Writer)
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, o, c.App.Writer)
}
