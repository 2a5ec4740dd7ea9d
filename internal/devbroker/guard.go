package devbroker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxFrame is the largest request that is let through. It is Kafka's own default
	// (socket.request.max.bytes); the broker behind the guard would allocate whatever it is told.
	maxFrame = 100 << 20
	// frameHeader is what every request starts with: size (4), API key (2), version (2),
	// correlation id (4).
	frameHeader = 12
)

// guardListener hands out connections that let only well-formed frames through, and announces
// the address that clients are told to connect to.
type guardListener struct {
	net.Listener
	advertised net.Addr
	log        *slog.Logger
}

// Addr returns the advertised address: the broker puts it into its metadata.
func (l guardListener) Addr() net.Addr { return l.advertised }

func (l guardListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardConn{Conn: conn, log: l.log}, nil
}

// guardConn watches the frames that a client sends. A frame with an API key that the broker does
// not know would end the broker's process, and one of four gigabytes its memory; here they end
// only the connection that they came on. It has one reader, the broker's.
type guardConn struct {
	net.Conn
	log *slog.Logger

	head [frameHeader]byte
	// pending is the checked part of head that the broker has not read yet.
	pending []byte
	// rest is how much of the frame is still to come from the connection.
	rest int
}

func (c *guardConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.pending) == 0 && c.rest == 0 {
		if err := c.nextFrame(); err != nil {
			return 0, err
		}
	}
	if len(c.pending) > 0 {
		n := copy(p, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(len(p), c.rest)])
	c.rest -= n
	return n, err
}

// nextFrame reads and checks the head of a frame.
func (c *guardConn) nextFrame() error {
	if _, err := io.ReadFull(c.Conn, c.head[:]); err != nil {
		// A client that goes away between two frames is no cause for a log line.
		if errors.Is(err, io.ErrUnexpectedEOF) {
			c.refuse(errors.New("connection ended inside the head of a frame"))
		}
		return err
	}
	size, err := checkHead(c.head)
	if err != nil {
		c.refuse(err)
		return err
	}
	c.pending = c.head[:]
	c.rest = size - (frameHeader - 4)
	return nil
}

func (c *guardConn) refuse(err error) {
	c.log.Warn("Closing a connection that does not speak Kafka", "client", c.RemoteAddr().String(), "error", err.Error())
	_ = c.Close() // the reader gets err; there is nobody else to tell
}

// checkHead returns the size of the frame after its four size bytes, or why the frame is refused.
func checkHead(head [frameHeader]byte) (int, error) {
	size := binary.BigEndian.Uint32(head[:4])
	if size < frameHeader-4 || size > maxFrame {
		return 0, fmt.Errorf("frame of %d bytes: expected %d to %d", size, frameHeader-4, maxFrame)
	}
	key := int16(binary.BigEndian.Uint16(head[4:6]))
	version := int16(binary.BigEndian.Uint16(head[6:8]))
	req := kmsg.RequestForKey(key)
	if req == nil {
		return 0, fmt.Errorf("unknown API key %d", key)
	}
	// A client asks for API versions with the newest version it has, and learns from the answer
	// what the broker has.
	if key != kmsg.ApiVersions.Int16() && (version < 0 || version > req.MaxVersion()) {
		return 0, fmt.Errorf("unknown version %d of %s", version, kmsg.NameForKey(key))
	}
	return int(size), nil
}
