package dlq

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/cluster"
	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/registry"
	"github.com/orderflow/orderflow/internal/shown"
)

const (
	flagTopic    = "dlq-topic"
	flagRegistry = "registry"
	flagSchema   = "schema"
	flagTimeout  = "timeout"
	flagJSON     = "json"
)

// flags returns those of a command: where the dead letters are, how to decode them, and its own.
func flags(own ...cli.Flag) []cli.Flag {
	return cluster.Flags(append([]cli.Flag{
		&cli.StringFlag{Name: flagTopic, Usage: "the `TOPIC` of the dead letters", EnvVars: []string{"DLQ_TOPIC"}, Value: "orders-dlq"},
		&cli.StringFlag{Name: flagRegistry, Usage: "comma-separated `URLS` of the schema registry", EnvVars: []string{"SCHEMA_REGISTRY_URL"}, DefaultText: "none"},
		&cli.StringFlag{Name: flagSchema, Usage: "the `FILE` with the Avro schema of an order", DefaultText: "the built-in schema"},
		&cli.DurationFlag{Name: flagTimeout, Usage: "how long it may take", Value: time.Minute},
	}, own...)...)
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
	decoder, err := valueDecoder(c)
	if err != nil {
		return letters.Topic{}, kafka, exit.Usage(c, err)
	}
	return letters.Topic{Name: c.String(flagTopic), Opts: kafka.Opts, Decoder: decoder}, kafka, nil
}

func valueDecoder(c *cli.Context) (*order.ValueDecoder, error) {
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
	if urls := c.String(flagRegistry); urls != "" {
		client, err := registry.New(schema, registry.Options{
			URLs: strings.Split(urls, ","), HTTP: &http.Client{Timeout: 5 * time.Second},
			MaxPause: time.Second, RememberRefusal: time.Hour, // a refusal holds for the whole command
			OnState: func(err error) {
				if err != nil {
					fmt.Fprintf(c.App.ErrWriter, "Schema registry %s cannot be reached, trying until --%s: %v\n", urls, flagTimeout, shown.Err(err))
				}
			},
		})
		if err != nil {
			return nil, fmt.Errorf("flag --%s: %w", flagRegistry, err)
		}
		d.Registry = client
	}
	return d, nil
}
