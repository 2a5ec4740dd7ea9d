package devbroker

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConnections is how many clients are served at a time.
	maxConnections = 1000
	// maxBuffered bounds the frames that have not wholly arrived, or not been taken, over all
	// connections.
	maxBuffered = 256 << 20
	// readChunk is what a frame gets at first, however large it says that it is.
	readChunk = 64 << 10
	// keptBuffer is the largest buffer that a connection keeps for its next frame.
	keptBuffer = 1 << 20

	// idleTimeout is how long a client may say nothing: Kafka's default (connections.max.idle.ms).
	idleTimeout = 10 * time.Minute
	// frameTimeout is how long a frame may take once it has begun, and a client to take a chunk of
	// an answer.
	frameTimeout = time.Minute
	// writeChunk is what a client has to take within frameTimeout.
	writeChunk = 1 << 20

	// acceptPause is the first pause after an error of the listener; it doubles up to acceptPauseMax.
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// guardListener hands out connections that let only well-formed frames through, and announces
// the address that clients are told to connect to. It has one caller of Accept, the broker.
type guardListener struct {
	net.Listener
	advertised net.Addr
	log        *slog.Logger

	open     atomic.Int64 // connections
	buffered atomic.Int64 // bytes of frames
	full     bool         // maxConnections was reached, and logged
}

// Addr returns the advertised address: the broker puts it into its metadata.
func (l *guardListener) Addr() net.Addr { return l.advertised }

// Accept returns an error only when the listener is closed: the broker takes any for the end, and
// a process that is short of files for a moment would be deaf for good.
func (l *guardListener) Accept() (net.Conn, error) {
	pause := acceptPause
	for {
		conn, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			if pause == acceptPause {
				l.log.Warn("Accepting a connection failed; trying again until it works", "error", err.Error())
			}
			time.Sleep(pause)
			pause = min(2*pause, acceptPauseMax)
			continue
		}
		if l.open.Load() >= maxConnections {
			if !l.full {
				l.log.Warn("Closing new connections: there are too many", "client", conn.RemoteAddr().String(), "most", maxConnections)
			}
			l.full = true
			_ = conn.Close() // it was never used
			continue
		}
		l.full = false
		l.open.Add(1)
		return &guardConn{Conn: conn, guard: l}, nil
	}
}

// guardConn reads whole frames and passes on those that the broker can bear. The broker behind it
// would end its process at a frame with an API key that it does not know, and allocate whatever it
// is told; here such a frame ends only the connection that it came on. It has one reader and one
// writer, the broker's.
type guardConn struct {
	net.Conn
	guard *guardListener

	// frame is the buffer of the last frame, and pending what the broker has not read of it yet.
	frame, pending []byte
	// counted is how much of it is in guard.buffered.
	counted atomic.Int64

	closed sync.Once
}

func (c *guardConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.pending) == 0 {
		if err := c.nextFrame(); err != nil {
			c.count(0) // there will be no next frame
			return 0, err
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// Write gives a client time for each piece of an answer, not for all of it.
func (c *guardConn) Write(p []byte) (written int, err error) {
	for chunk := range slices.Chunk(p, writeChunk) {
		if err := c.SetWriteDeadline(time.Now().Add(frameTimeout)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(chunk)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (c *guardConn) Close() error {
	c.closed.Do(func() { c.guard.open.Add(-1) })
	err := c.Conn.Close()
	c.count(0) // a reader in the middle of a frame gets an error, and counts anew
	return err
}

// nextFrame reads a frame and makes it pending.
func (c *guardConn) nextFrame() error {
	if cap(c.frame) > keptBuffer {
		c.frame = nil
	}
	c.count(0)
	c.frame = slices.Grow(c.frame[:0], frameHeader)[:frameHeader]
	if err := c.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.Conn, c.frame); err != nil {
		// A client that goes away between two frames is no cause for a log line.
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return c.refuse(errors.New("connection ended inside the head of a frame"))
		}
		return err
	}
	size, err := checkHead([frameHeader]byte(c.frame))
	if err != nil {
		return c.refuse(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(frameTimeout)); err != nil {
		return err
	}
	if err := c.readBody(4 + size); err != nil {
		return c.refuse(err)
	}
	if c.pending, err = tame(c.frame, c.guard.log); err != nil {
		return c.refuse(err)
	}
	return nil
}

// readBody reads the frame up to its size, and takes memory only for what arrives.
func (c *guardConn) readBody(size int) error {
	for have := len(c.frame); have < size; have = len(c.frame) {
		end := min(size, max(2*have, readChunk))
		if !c.count(int64(end)) {
			return fmt.Errorf("frame of %d bytes: all connections together are in the middle of more than %d bytes", size-4, maxBuffered)
		}
		c.frame = slices.Grow(c.frame, end-have)[:end]
		if _, err := io.ReadFull(c.Conn, c.frame[have:]); err != nil {
			return fmt.Errorf("frame of %d bytes: reading it: %w", size-4, err)
		}
	}
	return nil
}

// count sets how much this connection holds, and reports whether all together may hold it.
func (c *guardConn) count(bytes int64) bool {
	return c.guard.buffered.Add(bytes-c.counted.Swap(bytes)) <= maxBuffered
}

func (c *guardConn) refuse(err error) error {
	c.guard.log.Warn("Closing a connection that does not speak Kafka", "client", c.RemoteAddr().String(), "error", err.Error())
	_ = c.Close() // the reader gets err; there is nobody else to tell
	return err
}
