package devbroker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// script is a listener that accepts what it is told.
type script struct {
	net.Listener
	steps []any // an error or a connection
}

func (s *script) Accept() (net.Conn, error) {
	if len(s.steps) == 0 {
		return nil, &net.OpError{Op: "accept", Err: net.ErrClosed}
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	if err, ok := step.(error); ok {
		return nil, err
	}
	return step.(net.Conn), nil
}

func TestAcceptGoesOnAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noFiles := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		var steps []any
		for range 12 {
			steps = append(steps, noFiles)
		}
		conn := &stream{}
		var log bytes.Buffer
		l := &guardListener{Listener: &script{steps: append(steps, conn)}, log: slog.New(slog.NewTextHandler(&log, nil))}

		begun := time.Now()
		got, err := l.Accept()
		require.NoError(t, err)
		require.Same(t, conn, got.(*guardConn).Conn)
		// 5 ms, doubled seven times to 640 ms, then a second each.
		require.Equal(t, 255*acceptPause+4*acceptPauseMax, time.Since(begun))
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("too many open files")), "one outage is one line")

		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed, "the end is the end")
	})
}

func TestTooManyConnectionsAreClosed(t *testing.T) {
	var steps []any
	conns := make([]*stream, maxConnections+3)
	for i := range conns {
		conns[i] = &stream{}
		steps = append(steps, conns[i])
	}
	var log bytes.Buffer
	l := &guardListener{Listener: &script{steps: steps}, log: slog.New(slog.NewTextHandler(&log, nil))}
	var first net.Conn
	for i := range maxConnections {
		conn, err := l.Accept()
		require.NoError(t, err)
		if i == 0 {
			first = conn
		}
	}
	_, err := l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	for i, conn := range conns {
		require.Equal(t, i >= maxConnections, conn.closed, i)
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")))

	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "closed twice counts once")
	l.Listener.(*script).steps = []any{&stream{}, &stream{}}
	_, err = l.Accept()
	require.NoError(t, err)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

// pipe is a guarded connection in virtual time, and the client's end of it.
func pipe() (*guardConn, net.Conn) {
	server, client := net.Pipe()
	return &guardConn{Conn: server, guard: &guardListener{log: slog.New(slog.DiscardHandler)}}, client
}

func TestSlowClients(t *testing.T) {
	tests := map[string]struct {
		attack func(client net.Conn)
		after  time.Duration
	}{
		"one that says nothing": {func(net.Conn) {}, idleTimeout},
		"one that stops inside the head": {func(c net.Conn) {
			_, _ = c.Write(frame(100, 3, 9)[:5])
		}, idleTimeout},
		"one that sends a byte now and then": {func(c net.Conn) {
			_, err := c.Write(frame(1000, 3, 9))
			for err == nil {
				time.Sleep(time.Second)
				_, err = c.Write([]byte{0})
			}
		}, frameTimeout},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				guard, client := pipe()
				attacked := make(chan struct{})
				go func() { defer close(attacked); test.attack(client) }()
				begun := time.Now()
				_, err := guard.Read(make([]byte, 4))
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.Equal(t, test.after, time.Since(begun))
				require.NoError(t, guard.Close())
				require.Zero(t, guard.guard.buffered.Load())
				_ = client.Close() // ends the attack
				<-attacked
			})
		})
	}
	t.Run("one that does not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			guard, client := pipe()
			defer client.Close()
			begun := time.Now()
			_, err := guard.Write(make([]byte, 100))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Equal(t, frameTimeout, time.Since(begun))
		})
	})
	t.Run("one that reads slowly gets all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			guard, client := pipe()
			sent := bytes.Repeat([]byte("answer"), writeChunk/2)
			go func() {
				_, err := guard.Write(sent)
				require.NoError(t, err)
				require.NoError(t, guard.Close())
			}()
			var got []byte
			piece := make([]byte, writeChunk/2)
			for {
				n, err := client.Read(piece)
				got = append(got, piece[:n]...)
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				time.Sleep(frameTimeout / 3)
			}
			require.True(t, bytes.Equal(sent, got))
		})
	})
}

// However large frames say that they are, they take what has come of them.
func TestFramesTakeMemoryAsTheyArrive(t *testing.T) {
	guard, client := pipe()
	shared := guard.guard
	head := frame(maxFrame, kmsg.Produce.Int16(), 9)
	read := make(chan error, 1)
	go func() { _, err := guard.Read(make([]byte, 1)); read <- err }()
	_, err := client.Write(append(head, 1, 2, 3))
	require.NoError(t, err)
	require.LessOrEqual(t, shared.buffered.Load(), int64(readChunk))
	require.NoError(t, client.Close())
	require.ErrorContains(t, <-read, "frame of 104857600 bytes: reading it: unexpected EOF")

	shared.buffered.Add(maxBuffered)
	server, client := net.Pipe()
	second := &guardConn{Conn: server, guard: shared}
	go func() { _, err := second.Read(make([]byte, 1)); read <- err }()
	_, err = client.Write(head)
	require.NoError(t, err)
	require.ErrorContains(t, <-read, "all connections together are in the middle of more than 268435456 bytes")
	require.EqualValues(t, maxBuffered, shared.buffered.Load(), "a refused frame holds nothing")
}

// A broker that had no file left for a connection serves again as soon as there are some.
func TestBrokerHearsAgainAfterItRanOutOfFiles(t *testing.T) {
	var was syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	broker := start(t, Options{})
	require.NoError(t, broker.Cluster().CreateTopic("orders", 1, nil))

	// The client's end is made before there are no more files, the server's end is not. The lowest
	// number that is free is what the next file gets, so a limit of it leaves none.
	idle, err := net.Dial("tcp", broker.Address())
	require.NoError(t, err)
	defer idle.Close()
	raw, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer syscall.Close(raw)
	free, err := syscall.Dup(raw)
	require.NoError(t, err)
	require.NoError(t, syscall.Close(free))
	none := was
	none.Cur = uint64(free)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	restored := false
	restore := func() {
		if !restored {
			restored = true
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was))
		}
	}
	defer restore()
	_, err = syscall.Dup(raw)
	require.ErrorIs(t, err, syscall.EMFILE)
	host := broker.cluster.ListenAddrs()[0]
	address, err := net.ResolveTCPAddr("tcp", host)
	require.NoError(t, err)
	require.NoError(t, syscall.Connect(raw, &syscall.SockaddrInet4{Port: address.Port, Addr: [4]byte(address.IP.To4())}))

	ask := frame(10, kmsg.ApiVersions.Int16(), 0, 0xff, 0xff)
	_, err = syscall.Write(raw, ask)
	require.NoError(t, err)
	time.Sleep(50 * time.Millisecond) // accepting fails meanwhile, as often as it is tried
	restore()

	answer := make([]byte, 8)
	n, err := syscall.Read(raw, answer)
	require.NoError(t, err)
	require.Equal(t, 8, n)
	require.EqualValues(t, 1, binary.BigEndian.Uint32(answer[4:]), "the answer to the request that waited")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, client(t, broker.Address(), kgo.DefaultProduceTopic("orders")).ProduceSync(ctx, kgo.StringRecord("v")).FirstErr())
}
