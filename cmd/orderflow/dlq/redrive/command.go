// Package redrive is the commands `dlq redrive` and `dlq runs`: it runs the pipeline
// dlq_redrive.yaml in this process, with what the flags say, and shows what it does and did.
package redrive

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/cluster"
	"github.com/orderflow/orderflow/cmd/orderflow/exit"
)

const (
	flagTopic      = "dlq-topic"
	flagOrders     = "orders-topic"
	flagState      = "state-topic"
	flagID         = "id"
	flagWhere      = "where"
	flagMap        = "map"
	flagDryRun     = "dry-run"
	flagRate       = "rate"
	flagLimit      = "limit"
	flagMax        = "max-redrives"
	flagTarget     = "target"
	flagAllowOther = "allow-other-target"
	flagJSON       = "json"
)

func topicFlag() cli.Flag {
	return &cli.StringFlag{Name: flagTopic, Usage: "the `TOPIC` of the dead letters", EnvVars: []string{"DLQ_TOPIC"}, Value: "orders-dlq"}
}

// Command returns the command `redrive`.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "redrive",
		Usage: "Send the orders of dead letters again, each once",
		Description: `Sends the orders of the open dead letters that the filter chooses to the topic that they came
from, and marks the letters, in one transaction. Whatever stops it, run it again: it goes on, and
no order is sent twice. A letter stays where it is; a mark in the topic DLQ-redrives says that it
is open no more.

  orderflow dlq redrive --where '@dlq_code == "price_not_positive"' --map 'root.price = this.price.abs()' --dry-run
  orderflow dlq redrive --id orders/3/17 --id orders/3/18
  orderflow dlq redrive --where 'this.product == "Pen"' --rate 50 --limit 1000

In --where and --map, this is the decoded order (null where it cannot be decoded) and @ holds the
headers. --map changes root, which begins as the order; the result is validated and encoded again,
and what fails then is not sent and stays open.

Orders are sent to the topics of --orders-topic only. What a letter says of where it came from is
not believed beyond that: one that names another topic stays open, and is counted.

Exit status: 0 if all was looked at, 1 if it failed or was interrupted, 2 for a wrong call.`,
		Flags: cluster.Flags(append(append([]cli.Flag{topicFlag()}, cluster.RegistryFlags()...),
			&cli.StringFlag{Name: flagOrders, Usage: "comma-separated `TOPICS` that orders are read from, the only ones to send to", EnvVars: []string{"ORDERS_TOPIC"}, Value: "orders"},
			&cli.StringFlag{Name: flagState, Usage: "the `TOPIC` that holds the state, to which nothing is sent", EnvVars: []string{"STATE_TOPIC"}, Value: "orders-state"},
			&cli.StringSliceFlag{Name: flagID, Usage: "only the letter with this dlq_id `ID`, or at this place of the DLQ; can be repeated"},
			&cli.StringFlag{Name: flagWhere, Usage: "only letters for which this `BLOBLANG` is true", EnvVars: []string{"REDRIVE_WHERE"}, Value: "true"},
			&cli.StringFlag{Name: flagMap, Usage: "`BLOBLANG` that mends the order", EnvVars: []string{"REDRIVE_MAP"}},
			&cli.BoolFlag{Name: flagDryRun, Usage: "write nothing: count, and show the first 10 as they are and as they would be sent"},
			&cli.Float64Flag{Name: flagRate, Usage: "at most this `NUMBER` of orders a second; 0 is no bound", EnvVars: []string{"REDRIVE_RATE"}},
			&cli.IntFlag{Name: flagLimit, Usage: "at most this `NUMBER` of orders; 0 is no bound", EnvVars: []string{"REDRIVE_LIMIT"}},
			&cli.IntFlag{Name: flagMax, Usage: "after this `NUMBER` of redrives a letter goes to the topic DLQ-parking", EnvVars: []string{"MAX_REDRIVES"}, Value: 3},
			&cli.StringFlag{Name: flagTarget, Usage: "the one `TOPIC` to send to, instead of --orders-topic; empty: the one that each letter came from", EnvVars: []string{"REDRIVE_TARGET"}},
			&cli.BoolFlag{Name: flagAllowOther, Usage: "let --target be another topic than the one that a letter came from"},
			&cli.BoolFlag{Name: flagJSON, Usage: "print one JSON document"},
		)...),
		Action: action,
	}
}

func action(c *cli.Context) error {
	kafka, err := cluster.Parse(c)
	if err != nil {
		return err
	}
	registry, err := cluster.ParseRegistry(c)
	if err != nil {
		return err
	}
	o := options{
		kafka: kafka, topic: c.String(flagTopic), orders: c.String(flagOrders), state: c.String(flagState), registry: registry,
		ids: c.StringSlice(flagID), where: c.String(flagWhere), mapping: c.String(flagMap),
		dryRun: c.Bool(flagDryRun), rate: c.Float64(flagRate), limit: c.Int(flagLimit),
		maxRedrives: c.Int(flagMax), target: c.String(flagTarget), allowOther: c.Bool(flagAllowOther),
		terminal: exit.Terminal(c.App.ErrWriter),
	}
	if strings.TrimSpace(o.where) == "" {
		o.where = "true"
	}
	if err := o.check(); err != nil {
		return exit.Usage(c, err)
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := run(ctx, o, c.App.ErrWriter)
	if result == nil {
		return err
	}
	if c.Bool(flagJSON) {
		if printed := result.writeJSON(c.App.Writer); printed != nil {
			return errors.Join(printed, err)
		}
	} else {
		result.write(c.App.Writer)
	}
	return err
}

// options are what the flags say.
type options struct {
	kafka              cluster.Cluster
	topic              string
	orders, state      string
	registry           cluster.Registry
	ids                []string
	where, mapping     string
	dryRun             bool
	rate               float64
	limit, maxRedrives int
	target             string
	allowOther         bool
	terminal           bool // standard error is one, so that progress is shown on it
}

// check returns an error that names the first flag that is wrong.
func (o options) check() error {
	for _, f := range []struct{ flag, text string }{{flagWhere, o.where}, {flagMap, o.mapping}} {
		if _, err := bloblang.GlobalEnvironment().Parse(f.text); err != nil && strings.TrimSpace(f.text) != "" {
			return fmt.Errorf("flag --%s: parsing %q: %w", f.flag, f.text, err)
		}
	}
	switch {
	case o.topic == "":
		return fmt.Errorf("flag --%s: is empty", flagTopic)
	case strings.Trim(o.orders, ", ") == "" && o.target == "":
		return fmt.Errorf("flag --%s: is empty", flagOrders)
	case !(o.rate >= 0) || math.IsInf(o.rate, 0): // NaN is neither
		return fmt.Errorf("flag --%s: %v, expected a number of at least 0", flagRate, o.rate)
	case o.limit < 0:
		return fmt.Errorf("flag --%s: %d, expected a number of at least 0", flagLimit, o.limit)
	case o.maxRedrives < 0:
		return fmt.Errorf("flag --%s: %d, expected a number of at least 0", flagMax, o.maxRedrives)
	}
	return nil
}
