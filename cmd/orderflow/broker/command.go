// Package broker is the command `orderflow broker`: the embedded broker and registry alone.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/cmd/orderflow/topics"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/internal/order"
)

const (
	flagAddress    = "address"
	flagAdvertised = "advertised-address"
	flagRegistry   = "registry-address"
	flagDataDir    = "data-dir"
	flagSync       = "sync"
	flagTopics     = "topics"
)

// Command returns the command `broker`.
func Command() *cli.Command {
	return exit.Strict(&cli.Command{
		Name:  "broker",
		Usage: "Run an embedded Kafka broker and schema registry, for development",
		Description: `Runs until it gets SIGINT, SIGTERM or SIGHUP. It is a test broker (kfake) with one copy of the data, and
a fake registry (srfake): fit to develop and test with on one machine, not for production.

  orderflow broker
  orderflow broker --data-dir ./data
  rpk topic list -X brokers=127.0.0.1:9092 -X registry.hosts=127.0.0.1:8081
  kcat -b 127.0.0.1:9092 -L

With --data-dir, topics, records, offsets and schemas are kept, also across kill -9, for this user's
eyes only. Topics are never compacted: the state topic of a consumer keeps all of its history. To begin anew, take a new directory.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: flagAddress, Usage: "`HOST:PORT` to listen on for Kafka clients; port 0 takes a free one", Value: "127.0.0.1:9092"},
			&cli.StringFlag{Name: flagAdvertised, Usage: "`HOST:PORT` that clients are told to connect to", DefaultText: "the address that it listens on"},
			&cli.StringFlag{Name: flagRegistry, Usage: "`HOST:PORT` to listen on for registry clients; empty runs no registry", Value: "127.0.0.1:8081"},
			&cli.StringFlag{Name: flagDataDir, Usage: "`DIRECTORY` to keep the data in", DefaultText: "in memory"},
			&cli.BoolFlag{Name: flagSync, Usage: "flush every write to the disk before it is acknowledged, to survive a power cut too"},
			&cli.BoolFlag{Name: flagTopics, Usage: "create the topics of the built-in config/topics.yaml", Value: true},
		},
		Action: func(c *cli.Context) error {
			keepFilesPrivate()
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			o := Options{
				Broker: devbroker.Options{
					Address: c.String(flagAddress), Advertised: c.String(flagAdvertised),
					DataDir: c.String(flagDataDir), Sync: c.Bool(flagSync),
				},
				RegistryAddress: c.String(flagRegistry),
				Topics:          c.Bool(flagTopics),
			}
			return Run(ctx, o, c.App.Writer, slog.New(slog.NewTextHandler(c.App.ErrWriter, nil)))
		},
	})
}

// Options say what to run.
type Options struct {
	Broker          devbroker.Options
	RegistryAddress string // empty: no registry
	Topics          bool   // create the built-in topics
}

// Run runs the broker until the context ends. It writes the addresses to out once clients can
// connect.
func Run(ctx context.Context, o Options, out io.Writer, log *slog.Logger) (err error) {
	o.Broker.Log = log
	broker, err := devbroker.Start(o.Broker)
	if err != nil {
		return err
	}
	defer broker.Close()

	registry := "none"
	if o.RegistryAddress != "" {
		server, startErr := devbroker.StartRegistry(devbroker.RegistryOptions{
			Address: o.RegistryAddress, DataDir: o.Broker.DataDir, CanRead: order.CanRead, Log: log,
		})
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		registry = server.URL()
	}
	if o.Topics {
		if err := createTopics(ctx, broker, out); err != nil {
			return err
		}
	}
	data := o.Broker.DataDir
	if data == "" {
		data = "in memory"
	}
	fmt.Fprintf(out, "Kafka broker  %s\nregistry      %s\ndata          %s\nready; stop it with Ctrl-C\n", broker.Address(), registry, data)
	<-ctx.Done()
	log.Info("Stopping the broker")
	return nil
}

func createTopics(ctx context.Context, broker *devbroker.Broker, out io.Writer) error {
	list, err := topics.Default()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := topics.Apply(ctx, out, list, broker.ClientOpts()...); err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	return nil
}
