package main

import (
	"os"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// logsOnStderr makes the host log to standard error when it runs a pipeline, so that standard
// output has results only: what a stdout output writes, and the summaries. By itself the host
// logs to standard output, unless the pipeline's output is stdout, and has no setting for it.
//
// The host takes hold of the standard output just before it applies the first option. That is
// the moment in which it has to find standard error there.
func logsOnStderr(args []string) service.CLIOptFunc {
	if !runsPipeline(args) {
		return func(*service.CLIOptBuilder) {}
	}
	stdout := os.Stdout
	os.Stdout = os.Stderr
	return func(*service.CLIOptBuilder) { os.Stdout = stdout }
}

// runsPipeline reports whether the arguments run a pipeline. Other commands of the host write
// their results to where the logs would go.
func runsPipeline(args []string) bool {
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			return arg == "run" || arg == "streams"
		}
	}
	return false
}
