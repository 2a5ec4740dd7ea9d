package devbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/net/netutil"
)

// maxRegistryConnections is how many clients of a registry are served at a time; more wait.
const maxRegistryConnections = 250

// RegistryOptions say how to serve a registry.
type RegistryOptions struct {
	// Address to listen on; port 0 takes a free one.
	Address string
	// DataDir holds the subjects. Empty: in memory. A broker may use the same directory, and
	// its lock then covers the registry too.
	DataDir string
	// CanRead checks schemas.
	CanRead CanRead
	// Log gets warnings.
	Log *slog.Logger
}

// RegistryServer is a registry that is served by HTTP.
type RegistryServer struct {
	registry *Registry
	server   *http.Server
	url      string
	done     chan struct{}
}

// StartRegistry serves a registry.
func StartRegistry(o RegistryOptions) (*RegistryServer, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	path := ""
	if o.DataDir != "" {
		path = filepath.Join(o.DataDir, "registry", "changes.jsonl")
	}
	registry, err := NewRegistry(path, o.CanRead, o.Log)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening for registry clients: %w", err), registry.Close())
	}
	s := &RegistryServer{
		registry: registry,
		server: &http.Server{
			Handler:           registry,
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      time.Minute,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
		},
		url:  "http://" + reachable(listener.Addr().(*net.TCPAddr)),
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(netutil.LimitListener(listener, maxRegistryConnections)); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("Serving registry", "error", err.Error())
		}
	}()
	return s, nil
}

// URL returns the address that clients use.
func (s *RegistryServer) URL() string { return s.url }

// Close waits for running requests, for a while, and closes the registry.
func (s *RegistryServer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.server.Shutdown(ctx)
	<-s.done
	return errors.Join(err, s.registry.Close())
}
