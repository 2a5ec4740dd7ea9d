// Command orderflow runs order pipelines: the command line of Benthos with Orderflow's plugins
// and commands.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/google/uuid"
	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/io"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"
	_ "github.com/redpanda-data/connect/v4/public/components/prometheus"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"

	"github.com/orderflow/orderflow/cmd/orderflow/aggregates"
	"github.com/orderflow/orderflow/cmd/orderflow/audit"
	"github.com/orderflow/orderflow/cmd/orderflow/broker"
	"github.com/orderflow/orderflow/cmd/orderflow/demo"
	"github.com/orderflow/orderflow/cmd/orderflow/dlq"
	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/cmd/orderflow/topics"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/summary"
	_ "github.com/orderflow/orderflow/plugins/all"
)

func main() {
	paceCollector()
	endOnHangup()
	nameRun()
	helpFailed := exit.WatchHelp()
	vars := variables{args: os.Args[1:]}
	code, err := service.RunCLIToCode(context.Background(),
		logsOnStderr(os.Args[1:]), // first: it has to see the host's options as they begin
		service.CLIOptSetBinaryName("orderflow"),
		service.CLIOptSetProductName("Orderflow"),
		service.CLIOptSetVersion(version()),
		service.CLIOptSetEnvVarLookup(vars.lookup),
		service.CLIOptCustomRunFlags(nil, vars.check),
		service.CLIOptOnConfigParse(listens),
		service.CLIOptAddCommand(demo.Command()),
		service.CLIOptAddCommand(broker.Command()),
		service.CLIOptAddCommand(topics.Command()),
		service.CLIOptAddCommand(aggregates.Command()),
		service.CLIOptAddCommand(audit.Command()),
		service.CLIOptAddCommand(dlq.Command()),
	)
	if err == nil {
		err = helpFailed()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, shown.Lines(err.Error()))
		code = exit.Code(err)
	}
	if runsPipeline(os.Args[1:]) {
		if _, err := summary.Default.WriteTo(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "writing summary:", err)
			code = max(code, exit.Failed)
		}
		if err := summary.Default.Err(); err != nil {
			fmt.Fprintln(os.Stderr, shown.Lines(err.Error()))
			code = max(code, exit.Failed)
		}
	}
	os.Exit(code)
}

// nameRun gives pipelines the variable RUN_ID, another one for each process.
func nameRun() {
	if os.Getenv("RUN_ID") == "" {
		os.Setenv("RUN_ID", uuid.NewString())
	}
}
