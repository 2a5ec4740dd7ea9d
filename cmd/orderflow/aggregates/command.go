// Package aggregates is the command `aggregates`: the running aggregates of all instances
// together, merged from the state topic.
package aggregates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/cluster"
	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/terminal"
	"github.com/orderflow/orderflow/plugins/kafkatransactional"
)

const (
	flagState    = "state-topic"
	flagName     = "name"
	flagJSON     = "json"
	flagWatch    = "watch"
	flagInterval = "interval"
	flagTimeout  = "timeout"
)

// Command returns the command `aggregates`.
func Command() *cli.Command {
	return exit.Strict(&cli.Command{
		Name:  "aggregates",
		Usage: "Show the running aggregates of all instances together",
		Description: `Merges what running_aggregate has counted, from the state topic of kafka_transactional:
exactly the messages whose outcome is committed and that are no dead letters. A name that a terminal
would not show in full is quoted. Where instances had no room for all groups (max_groups), the figures
of groups may be too low, which is said.

  orderflow aggregates
  orderflow aggregates --json
  orderflow aggregates --watch

State that cannot be read is left out, and named on standard error.

Exit status: 0 if they could be read, 1 if not or not all, 2 for a wrong call.`,
		Flags: cluster.Flags(
			&cli.StringFlag{Name: flagState, Usage: "the `TOPIC` that holds the state", EnvVars: []string{"STATE_TOPIC"}, Value: "orders-state"},
			&cli.StringFlag{Name: flagName, Usage: "the `NAME` of the running_aggregate, if its field name is set"},
			&cli.BoolFlag{Name: flagJSON, Usage: "print one JSON document"},
			&cli.BoolFlag{Name: flagWatch, Usage: "print again whenever they have changed, until interrupted"},
			&cli.DurationFlag{Name: flagInterval, Usage: "how often --watch looks", Value: time.Second},
			&cli.DurationFlag{Name: flagTimeout, Usage: "how long one look may take", Value: time.Minute},
		),
		Action: run,
	})
}

func run(c *cli.Context) error {
	if c.Duration(flagInterval) <= 0 {
		return exit.Usage(c, fmt.Errorf("flag --%s: %v, expected a duration above 0", flagInterval, c.Duration(flagInterval)))
	}
	kafka, err := cluster.Parse(c)
	if err != nil {
		return err
	}
	last, lacked := "", ""
	for {
		ctx, cancel := context.WithTimeout(c.Context, c.Duration(flagTimeout))
		groups, err := Read(ctx, c.String(flagState), c.String(flagName), kafka.Opts...)
		cancel()
		if err != nil && c.Context.Err() != nil {
			return nil
		}
		lacking, partly := errors.AsType[*kafkatransactional.UnreadableError](err)
		if err != nil {
			err = fmt.Errorf("reading aggregates from %s: %w", kafka, err)
			if !partly {
				return err
			}
		}
		var text strings.Builder
		if err := Print(&text, groups, c.Bool(flagJSON)); err != nil {
			return err
		}
		if text.String() != last {
			last = text.String()
			if _, err := io.WriteString(c.App.Writer, last); err != nil {
				return err
			}
		}
		if !c.Bool(flagWatch) {
			return err
		}
		if text := fmt.Sprint(lacking); partly && text != lacked {
			lacked = text
			fmt.Fprintln(c.App.ErrWriter, shown.Err(err))
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(c.Duration(flagInterval)):
		}
	}
}

// Read merges the aggregates of this name over all partitions and instances. With a
// *kafkatransactional.UnreadableError they lack what the records hold that it names.
func Read(ctx context.Context, stateTopic, name string, opts ...kgo.Opt) (aggregate.Groups, error) {
	newest := map[kafkatransactional.StateKey]aggregate.Partial{}
	err := kafkatransactional.ReadState(ctx, opts, stateTopic, func(k kafkatransactional.StateKey, value []byte) error {
		if k.Kind != kafkatransactional.KindAggregate || k.Name != name {
			return nil
		}
		delete(newest, k)
		if value == nil {
			return nil
		}
		var p aggregate.Partial
		if err := p.UnmarshalBinary(value); err != nil {
			return fmt.Errorf("decoding aggregate of %s/%d, group %s: %w", k.Topic, k.Partition, shown.Quote(fmt.Sprintf("%.200s", k.Group)), err)
		}
		newest[k] = p
		return nil
	})
	groups := aggregate.NewGroups(0)
	for k, p := range newest {
		groups.MergePartial(k.Group, p)
	}
	return groups, err
}

// overall is the name of the row above all groups.
const overall = "overall"

// Print writes a table, or one JSON document on a line.
func Print(w io.Writer, groups aggregate.Groups, asJSON bool) error {
	if asJSON {
		b, err := terminal.JSON(groups)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
	t := terminal.Table{Indent: "  "}
	t.Row("", "count", "average", "min", "max", "total")
	row := func(name string, p aggregate.Partial) {
		if p.Count() == 0 {
			t.Row(name, 0, terminal.Empty, terminal.Empty, terminal.Empty, 0)
			return
		}
		t.Row(name, p.Count(), shown.Number(p.Average()), shown.Number(p.Min()), shown.Number(p.Max()), shown.Number(p.Sum()))
	}
	row(overall, groups.Overall())
	for key, p := range groups.All() {
		name := shown.Text(key)
		if key == overall {
			name = shown.Quote(key) // a group that is called so is not the row of that name
		}
		row(name, p)
	}
	lines := t.Lines()
	if note := groups.Note(); note != "" {
		lines = append(lines, note)
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}
