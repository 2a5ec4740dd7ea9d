package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// listens fails if the host's HTTP server does not listen. The host only logs that, and goes on
// without /metrics and /ready.
//
// It calls this when it has started the goroutine of the server, and before a pipeline begins. It
// does not say how the server fares, and asking the port would not do: whoever answers there may
// be another process, and taking it for a try could make our own server fail. What cannot be
// mistaken is where that goroutine is: waiting for connections, on its way to that, or gone.
func listens(conf *service.ParsedConfig) error {
	enabled, err := conf.FieldBool("http", "enabled")
	if err != nil || !enabled {
		return err
	}
	address, err := conf.FieldString("http", "address")
	if err != nil {
		return err
	}
	for {
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			return fmt.Errorf("starting the HTTP server: %w", err)
		}
		switch server := serverOf(stacks.String()); {
		case server == "":
			return fmt.Errorf("starting the HTTP server: field http.address (HTTP_ADDRESS) %q: %w", address, whyNot(address))
		case strings.Contains(server, "net/http.(*Server).Serve("):
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// serverOf returns the stack of the goroutine in which the host starts its server.
func serverOf(stacks string) string {
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		if strings.Contains(stack, "newStoppableManager") || strings.Contains(stack, "internal/api.(*Type).ListenAndServe(") {
			return stack
		}
	}
	return ""
}

// whyNot returns the reason why nobody can listen on an address.
func whyNot(address string) error {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		listener.Close()
		return errors.New("see the error in the log")
	}
	return err
}
