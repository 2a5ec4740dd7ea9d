package topics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/cluster"
	"github.com/orderflow/orderflow/cmd/orderflow/environment"
	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/config"
)

const (
	flagFile    = "file"
	flagTimeout = "timeout"
)

// Command returns the command `topics`.
func Command() *cli.Command {
	return exit.Strict(&cli.Command{
		Name:  "topics",
		Usage: "Make the topics that the pipelines use",
		Subcommands: []*cli.Command{{
			Name:  "create",
			Usage: "Make the topics of a file that do not exist, and compare those that do",
			Description: `Makes each topic that the file lists, with its partitions and configs. A topic that exists is
compared with the file: a difference is shown and not changed, and is no failure.

  orderflow topics create
  orderflow topics create --file my-topics.yaml --brokers broker-1:9092,broker-2:9092

In the file, ${NAME:default} is taken from the environment. The built-in file reads ORDERS_TOPIC,
PROCESSED_TOPIC, DLQ_TOPIC, STATE_TOPIC, TOPIC_REPLICATION and TOPIC_MIN_INSYNC.

Exit status: 0 if all topics exist, 1 if not, 2 for a wrong call or a wrong file.`,
			Flags: cluster.Flags(
				&cli.StringFlag{Name: flagFile, Aliases: []string{"f"}, Usage: "the `FILE` that lists the topics", DefaultText: "the built-in config/topics.yaml"},
				&cli.DurationFlag{Name: flagTimeout, Usage: "how long to wait for the broker", Value: 30 * time.Second},
			),
			Action: run,
		}},
	})
}

func run(c *cli.Context) error {
	topics, err := load(c.String(flagFile))
	if err != nil {
		return exit.Usage(c, err)
	}
	kafka, err := cluster.Parse(c)
	if err != nil {
		return err
	}
	timeout := c.Duration(flagTimeout)
	if timeout <= 0 {
		return exit.Usage(c, fmt.Errorf("flag --%s: %v, expected a duration above 0", flagTimeout, timeout))
	}
	ctx, cancel := context.WithTimeout(c.Context, timeout)
	defer cancel()
	if err := Apply(ctx, c.App.Writer, topics, kafka.Opts...); err != nil {
		return fmt.Errorf("creating topics on %s: %w", kafka, err)
	}
	return nil
}

func load(path string) ([]Topic, error) {
	if path == "" {
		return Default()
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading topics: %w", err)
	}
	topics, err := Parse(content, environment.Process)
	if err != nil {
		return nil, fmt.Errorf("reading topics from %s: %w", path, err)
	}
	return topics, nil
}

// Default returns the topics of the built-in file, by the environment's names.
func Default() ([]Topic, error) {
	topics, err := Parse(config.Topics, environment.Process)
	if err != nil {
		return nil, fmt.Errorf("reading built-in topics: %w", err)
	}
	return topics, nil
}

// Apply creates or compares the topics on the broker that opts name, and writes a line for each.
func Apply(ctx context.Context, out io.Writer, topics []Topic, opts ...kgo.Opt) error {
	client, err := kgo.NewClient(append(opts,
		kgo.ClientID("orderflow-topics"),
		kgo.MetadataMinAge(knownAgain), // until then it would repeat that there is no such topic
	)...)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer client.Close()
	if err := reach(ctx, client); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	outcomes, err := Create(ctx, kadm.NewClient(client), topics)
	Print(out, outcomes)
	return err
}

// reach waits for a broker that is still starting.
func reach(ctx context.Context, client *kgo.Client) error {
	for {
		err := client.Ping(ctx)
		if err == nil || cluster.Refused(err) {
			return err
		}
		select {
		case <-ctx.Done():
			// The last attempt may have failed for no other reason than the end of the time.
			return errors.Join(ctx.Err(), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Print writes a line for each topic, and one for each difference.
func Print(out io.Writer, outcomes []Outcome) {
	for _, o := range outcomes {
		switch {
		case o.Err != nil:
			fmt.Fprintf(out, "%-20s failed\n", o.Topic.Name)
		case o.Created:
			fmt.Fprintf(out, "%-20s created\n", o.Topic.Name)
		case len(o.Differences) == 0:
			fmt.Fprintf(out, "%-20s exists, as listed\n", o.Topic.Name)
		default:
			fmt.Fprintf(out, "%-20s exists, differs (not changed):\n", o.Topic.Name)
			for _, d := range o.Differences {
				fmt.Fprintf(out, "  %s is %s, listed is %s\n", d.Property, d.Is, d.Listed)
			}
		}
	}
}
