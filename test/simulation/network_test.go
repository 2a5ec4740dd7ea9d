//go:build synctests

package simulation

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

var (
	errCut  = errors.New("the network is cut")
	errLost = errors.New("the connection was lost")
)

// network is an instance's way to the brokers. It can be cut (connections break, none can be
// made), stalled (nothing gets through, and nobody is told: a frozen process), or slow. It can
// also lie in wait for a request, to break just before or just after the broker has handled it.
type network struct {
	stack *kfake.VirtualNetwork

	mu    sync.Mutex
	cuts  int           // reasons for which it is cut
	dead  bool          // cut for ever
	until time.Time     // stalled until then
	delay time.Duration // of each request, and of each response
	traps []*trap
	conns map[*conn]struct{}
}

// trap lies in wait for a request.
type trap struct {
	key   int16
	skip  int                // how many to let pass
	after bool               // let the broker handle it first
	act   func(*conn, frame) // gets the request, or the response if after is set
}

func newNetwork(stack *kfake.VirtualNetwork) *network {
	return &network{stack: stack, conns: map[*conn]struct{}{}}
}

func (n *network) dial(ctx context.Context, proto, address string) (net.Conn, error) {
	if err := n.wait(nil, func() bool { return ctx.Err() != nil }); err != nil {
		return nil, err
	}
	inner, err := n.stack.DialContext(ctx, proto, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, n: n, address: address, closed: make(chan struct{}), doomed: map[int32]doom{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cuts > 0 || n.dead {
		inner.Close()
		return nil, errCut
	}
	n.conns[c] = struct{}{}
	return c, nil
}

// wait returns once something may pass, or with an error when nothing will.
func (n *network) wait(closed <-chan struct{}, expired func() bool) error {
	for {
		n.mu.Lock()
		stalled := time.Until(n.until)
		cut := n.cuts > 0 || n.dead
		n.mu.Unlock()
		switch {
		case cut:
			return errCut
		case stalled <= 0:
			return nil
		case expired():
			return os.ErrDeadlineExceeded
		}
		select {
		case <-closed:
			return net.ErrClosed
		case <-time.After(min(stalled, 250*time.Millisecond)):
		}
	}
}

func (n *network) cut() {
	n.mu.Lock()
	n.cuts++
	n.breakAll()
	n.mu.Unlock()
}

func (n *network) heal() {
	n.mu.Lock()
	n.cuts--
	n.mu.Unlock()
}

// kill cuts it for ever.
func (n *network) kill() {
	n.mu.Lock()
	n.dead = true
	n.breakAll()
	n.mu.Unlock()
}

// breakAll closes all connections. n.mu must be held.
func (n *network) breakAll() {
	for c := range n.conns {
		c.shut()
	}
	clear(n.conns)
}

func (n *network) stall(d time.Duration) {
	n.mu.Lock()
	if until := time.Now().Add(d); until.After(n.until) {
		n.until = until
	}
	n.mu.Unlock()
}

func (n *network) slow(d time.Duration) {
	n.mu.Lock()
	n.delay = d
	n.mu.Unlock()
}

func (n *network) lag() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.delay
}

func (n *network) set(t *trap) {
	n.mu.Lock()
	n.traps = append(n.traps, t)
	n.mu.Unlock()
}

// disarm takes away the traps that nothing has walked into.
func (n *network) disarm() {
	n.mu.Lock()
	n.traps = nil
	n.mu.Unlock()
}

func (n *network) caught(key int16) *trap {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, t := range n.traps {
		if t.key != key {
			continue
		}
		if t.skip--; t.skip >= 0 {
			continue
		}
		n.traps = append(n.traps[:i:i], n.traps[i+1:]...)
		return t
	}
	return nil
}

// conn is one connection. The client writes each request with one call.
type conn struct {
	net.Conn
	n       *network
	address string
	once    sync.Once

	closed chan struct{}

	mu       sync.Mutex
	deadline time.Time      // for reading
	doomed   map[int32]doom // by correlation id: requests whose response a trap lies in wait for
	response []byte         // what is left of one
}

type doom struct {
	*trap
	version int16
}

func (c *conn) shut() {
	c.once.Do(func() {
		close(c.closed)
		c.Conn.Close()
	})
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
	c.shut()
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) expired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.deadline.IsZero() && !time.Now().Before(c.deadline)
}

// roundTrip is how long a request takes at least. Without it, a client that tries again at once
// would keep the clock from going on.
const roundTrip = 2 * time.Millisecond

// pause is what a response takes on its way, and more if the brokers are slow.
func (c *conn) pause() error {
	select {
	case <-time.After(roundTrip + c.n.lag()):
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.n.wait(c.closed, func() bool { return false }); err != nil {
		return 0, err
	}
	if d := c.n.lag(); d > 0 {
		if err := c.pause(); err != nil {
			return 0, err
		}
	}
	if len(b) >= 12 {
		if t := c.n.caught(int16(binary.BigEndian.Uint16(b[4:]))); t != nil {
			version := int16(binary.BigEndian.Uint16(b[6:]))
			if !t.after {
				t.act(c, frame{version, b})
				if err := c.n.wait(c.closed, func() bool { return false }); err != nil {
					return 0, err
				}
			} else {
				c.mu.Lock()
				c.doomed[int32(binary.BigEndian.Uint32(b[8:]))] = doom{t, version}
				c.mu.Unlock()
			}
		}
	}
	select {
	case <-c.closed:
		return 0, errLost
	default:
		return c.Conn.Write(b)
	}
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.response) == 0 {
		if err := c.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.response)
	c.response = c.response[n:]
	return n, nil
}

// receive reads the next response.
func (c *conn) receive() error {
	if err := c.n.wait(c.closed, c.expired); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(c.Conn, size[:]); err != nil {
		return err
	}
	response := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
	copy(response, size[:])
	if _, err := io.ReadFull(c.Conn, response[4:]); err != nil {
		return err
	}
	c.mu.Lock()
	t, caught := c.doomed[int32(binary.BigEndian.Uint32(response[4:]))]
	c.mu.Unlock()
	if caught {
		t.act(c, frame{t.version, response})
	}
	if err := c.n.wait(c.closed, c.expired); err != nil {
		return err
	}
	if err := c.pause(); err != nil {
		return err
	}
	select {
	case <-c.closed:
		return errLost
	default:
		c.response = response
		return nil
	}
}
