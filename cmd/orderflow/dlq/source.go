package dlq

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/cluster"
	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/registry"
)

const (
	flagTopic   = "dlq-topic"
	flagSchema  = "schema"
	flagTimeout = "timeout"
	flagJSON    = "json"
)

// flags returns those of a command: where the dead letters are, how to decode them, and its own.
func flags(own ...cli.Flag) []cli.Flag {
	return cluster.Flags(slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: flagTopic, Usage: "the `TOPIC` of the dead letters", EnvVars: []string{"DLQ_TOPIC"}, Value: "orders-dlq"},
	}, cluster.RegistryFlags(), []cli.Flag{
		&cli.StringFlag{Name: flagSchema, Usage: "the `FILE` with the Avro schema of an order", DefaultText: "the built-in schema"},
		&cli.DurationFlag{Name: flagTimeout, Usage: "how long it may take", Value: time.Minute},
	}, own)...)
}

// source returns the topic that the flags name, and where it is. Its errors are those of a wrong
// call.
func source(c *cli.Context) (letters.Topic, cluster.Cluster, error) {
	kafka, err := cluster.Parse(c)
	if err != nil {
		return letters.Topic{}, kafka, err
	}
	if timeout := c.Duration(flagTimeout); timeout <= 0 {
		return letters.Topic{}, kafka, exit.Usage(c, fmt.Errorf("flag --%s: %v, expected a duration above 0", flagTimeout, timeout))
	}
	access, err := cluster.ParseRegistry(c)
	if err != nil {
		return letters.Topic{}, kafka, err
	}
	decoder, err := valueDecoder(c, access.Access)
	if err != nil {
		return letters.Topic{}, kafka, exit.Usage(c, err)
	}
	return letters.Topic{Name: c.String(flagTopic), Opts: kafka.Opts, Decoder: decoder}, kafka, nil
}

func valueDecoder(c *cli.Context, access registry.Access) (*order.ValueDecoder, error) {
	text := schemas.Order
	if path := c.String(flagSchema); path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("flag --%s: %w", flagSchema, err)
		}
		text = string(content)
	}
	schema, err := order.ParseSchema(text)
	if err != nil {
		return nil, fmt.Errorf("flag --%s: %w", flagSchema, err)
	}
	plain, err := order.NewDecoder(schema, schema)
	if err != nil {
		return nil, fmt.Errorf("flag --%s: %w", flagSchema, err)
	}
	d := &order.ValueDecoder{Plain: plain}
	if !access.Enabled() {
		return d, nil
	}
	opts, err := access.Options()
	if err != nil {
		return nil, err
	}
	// Whatever it says, or does not say, holds for the whole command.
	opts.FirstPause, opts.MaxPause, opts.RememberRefusal = time.Hour, time.Hour, time.Hour
	client, err := registry.New(schema, opts)
	if err != nil {
		return nil, err
	}
	d.Registry = client.With(registry.ForAnswer)
	return d, nil
}
