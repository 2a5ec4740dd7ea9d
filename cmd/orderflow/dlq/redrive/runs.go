package redrive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/cluster"
	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/terminal"
)

// RunsCommand returns the command `runs`.
func RunsCommand() *cli.Command {
	return &cli.Command{
		Name:  "runs",
		Usage: "List the redrives: who sent what again, and what became of it",
		Description: `Reads the audit records of the topic DLQ-redrives, the oldest run first. One without an end
goes on, or was killed.

  orderflow dlq runs

Exit status: 0, 1 if it could not be read, 2 for a wrong call.`,
		Flags: cluster.Flags(
			topicFlag(),
			&cli.BoolFlag{Name: flagJSON, Usage: "print one JSON document"},
			&cli.DurationFlag{Name: "timeout", Usage: "how long it may take", Value: time.Minute},
		),
		Action: listRuns,
	}
}

func listRuns(c *cli.Context) error {
	kafka, err := cluster.Parse(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	runs, err := readRuns(ctx, redrive.Topic(c.String(flagTopic)), kafka.Opts...)
	if err != nil {
		return fmt.Errorf("listing runs on %s: %w", kafka, err)
	}
	if c.Bool(flagJSON) {
		b, err := terminal.JSON(runs)
		if err != nil {
			return err
		}
		_, err = c.App.Writer.Write(b)
		return err
	}
	return writeRuns(c.App.Writer, runs)
}

// readRuns returns the audit records of a redrive topic, the latest of each run, by their ids,
// which sort by time. A topic that does not exist holds none.
func readRuns(ctx context.Context, topic string, opts ...kgo.Opt) ([]redrive.Run, error) {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	runs := map[string]redrive.Run{}
	ranges, err := committed.Stable(ctx, kadm.NewClient(cl), topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return []redrive.Run{}, nil
	}
	if err == nil {
		_, err = committed.Read(ctx, opts, topic, ranges, func(r *kgo.Record) error {
			run, ok, err := redrive.ParseRun(r.Key, r.Value)
			if ok {
				runs[run.ID] = run
			}
			return err
		})
	}
	list := make([]redrive.Run, 0, len(runs))
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		list = append(list, runs[id])
	}
	return list, err
}

func writeRuns(w io.Writer, runs []redrive.Run) error {
	table := terminal.Table{Left: terminal.AllLeft}
	table.Row("run", "by", "begun", "took", "matched", "sent", "parked", "refused", "where", "map")
	for _, r := range runs {
		took := "not ended"
		if !r.Ended.IsZero() {
			took = r.Ended.Sub(r.Begun).Round(time.Millisecond).String()
		}
		var refused int64
		for _, n := range r.Refused {
			refused += n
		}
		table.Row(shown.Text(r.ID), shown.Text(r.By), r.Begun.Format(time.RFC3339), took, r.Matched, r.Sent, r.Parked, refused,
			oneLine(r.Where, r.IDs), oneLine(r.Map, nil))
	}
	return table.Flush(w)
}

// oneLine is a filter or mapping as a cell of the table.
func oneLine(text string, ids []string) string {
	if len(ids) > 0 {
		text = strings.TrimSuffix(strings.Join(ids, ",")+"; "+text, "; true")
	}
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return ""
	}
	return shown.Text(text)
}
