// Package audit is the command `audit`: it proves from the broker alone that each order that
// was read has exactly one outcome.
package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/cluster"
	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/terminal"
	"github.com/orderflow/orderflow/plugins/kafkatransactional"
)

// Command returns the command `audit`.
func Command() *cli.Command {
	topic := func(flag, env, def, usage string) cli.Flag {
		return &cli.StringFlag{Name: flag, Usage: usage, EnvVars: []string{env}, Value: def}
	}
	return exit.Strict(&cli.Command{
		Name:  "audit",
		Usage: "Prove that each order has exactly one outcome",
		Description: `Reads committed records only and matches each order that the consumer group has read with
what became of it: read = processed + dead-lettered + waiting + dropped. Orders whose records
retention has deleted are left out, and those that were compacted away are known by their outcomes.
After a reset of the group's offsets, orders that were read again may have one more outcome each, and
skipped ones have none. A partition whose state cannot be read is left out, and named on standard
error.

  orderflow audit
  orderflow audit --json

Exit status: 0 if it adds up, 1 if not or if it could not be read, 2 for a wrong call.`,
		Flags: cluster.Flags(
			topic("orders-topic", "ORDERS_TOPIC", "orders", "the `TOPIC` of the orders"),
			topic("processed-topic", "PROCESSED_TOPIC", "orders-processed", "the `TOPIC` of the processed orders"),
			topic("dlq-topic", "DLQ_TOPIC", "orders-dlq", "the `TOPIC` of the dead letters"),
			topic("state-topic", "STATE_TOPIC", "orders-state", "the `TOPIC` that holds the state"),
			topic("group", "CONSUMER_GROUP", "orderflow", "the consumer `GROUP`"),
			&cli.BoolFlag{Name: "json", Usage: "print one JSON document"},
			&cli.DurationFlag{Name: "timeout", Usage: "how long it may take", Value: 5 * time.Minute},
		),
		Action: run,
	})
}

var errDoesNotAddUp = errors.New("the audit does not add up")

func run(c *cli.Context) error {
	kafka, err := cluster.Parse(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	report, err := Run(ctx, Topics{
		Orders: c.String("orders-topic"), Processed: c.String("processed-topic"), DLQ: c.String("dlq-topic"),
		State: c.String("state-topic"), Group: c.String("group"),
	}, kafka.Opts...)
	if err != nil {
		err = fmt.Errorf("auditing %s: %w", kafka, err)
		if _, partly := errors.AsType[*kafkatransactional.UnreadableError](err); !partly {
			return err
		}
	}
	if c.Bool("json") {
		b, err := terminal.JSON(report)
		if err != nil {
			return err
		}
		if _, err := c.App.Writer.Write(b); err != nil {
			return err
		}
	} else {
		for _, p := range report.Partitions {
			fmt.Fprintf(c.App.Writer, "%s/%d: %v\n", p.Topic, p.Partition, p.Sums)
		}
		fmt.Fprintf(c.App.Writer, "all: %v\n", report.Sums)
		for _, note := range report.Notes {
			fmt.Fprintln(c.App.Writer, note)
		}
	}
	if err != nil {
		return fmt.Errorf("%w; the partitions that this concerns are left out", err)
	}
	if !report.OK {
		return errDoesNotAddUp
	}
	return nil
}
