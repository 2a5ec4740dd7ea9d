// Package link is the way of one instance to brokers in virtual time. It can be cut, which is what
// a frozen process or a broken network looks like to everybody else.
package link

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Link makes the connections of an instance. It is safe for concurrent use.
type Link struct {
	stack *kfake.VirtualNetwork

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

// New makes a link that is not cut.
func New(stack *kfake.VirtualNetwork) *Link {
	return &Link{stack: stack, conns: map[net.Conn]struct{}{}}
}

// Dial connects unless the link is cut.
func (l *Link) Dial(ctx context.Context, proto, addr string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errors.New("link is cut")
	}
	conn, err := l.stack.DialContext(ctx, proto, addr)
	if err == nil {
		l.conns[conn] = struct{}{}
	}
	return conn, err
}

// Cut closes all connections and lets none be made until the link is mended.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for conn := range l.conns {
		conn.Close()
	}
	clear(l.conns)
}

// Mend lets connections be made again.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
}
