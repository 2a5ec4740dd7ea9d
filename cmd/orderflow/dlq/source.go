package dlq

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/registry"
)

const (
	flagBrokers  = "brokers"
	flagTopic    = "dlq-topic"
	flagRegistry = "registry"
	flagSchema   = "schema"
	flagTimeout  = "timeout"
	flagJSON     = "json"
)

// sourceFlags say where the dead letters are and how to decode them.
func sourceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagBrokers, Aliases: []string{"b"}, Usage: "comma-separated `ADDRESSES` of the brokers", EnvVars: []string{"KAFKA_BROKERS"}, Value: "localhost:9092"},
		&cli.StringFlag{Name: flagTopic, Usage: "the `TOPIC` of the dead letters", EnvVars: []string{"DLQ_TOPIC"}, Value: "orders-dlq"},
		&cli.StringFlag{Name: flagRegistry, Usage: "comma-separated `URLS` of the schema registry", EnvVars: []string{"SCHEMA_REGISTRY_URL"}, DefaultText: "none"},
		&cli.StringFlag{Name: flagSchema, Usage: "the `FILE` with the Avro schema of an order", DefaultText: "the built-in schema"},
		&cli.DurationFlag{Name: flagTimeout, Usage: "how long it may take", Value: time.Minute},
	}
}

// source returns the topic that the flags name. Its errors are those of a wrong call.
func source(c *cli.Context) (letters.Topic, error) {
	if timeout := c.Duration(flagTimeout); timeout <= 0 {
		return letters.Topic{}, exit.Usage(c, fmt.Errorf("flag --%s: %v, expected a duration above 0", flagTimeout, timeout))
	}
	decoder, err := valueDecoder(c)
	if err != nil {
		return letters.Topic{}, exit.Usage(c, err)
	}
	return letters.Topic{
		Name:    c.String(flagTopic),
		Opts:    []kgo.Opt{kgo.SeedBrokers(strings.Split(c.String(flagBrokers), ",")...)},
		Decoder: decoder,
	}, nil
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
					fmt.Fprintf(c.App.ErrWriter, "Schema registry %s cannot be reached, trying until --%s: %v\n", urls, flagTimeout, err)
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
