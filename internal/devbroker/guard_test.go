package devbroker

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// frame builds a request frame with a size that may be a lie.
func frame(size uint32, key, version int16, rest ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, size)
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 1) // correlation id
	return append(b, rest...)
}

func TestCheckHead(t *testing.T) {
	metadata, produce := kmsg.Metadata.Int16(), kmsg.Produce.Int16()
	newest := kmsg.NewPtrMetadataRequest().MaxVersion()
	tests := map[string]struct {
		frame   []byte
		size    int
		problem string
	}{
		"a request":                             {frame(20, metadata, 9), 20, ""},
		"the newest version":                    {frame(20, metadata, newest), 20, ""},
		"the smallest frame":                    {frame(8, metadata, 0), 8, ""},
		"the largest frame":                     {frame(maxPlainFrame, metadata, 0), maxPlainFrame, ""},
		"the largest frame with records":        {frame(maxFrame, produce, 9), maxFrame, ""},
		"API versions of the future are asked":  {frame(20, kmsg.ApiVersions.Int16(), 99), 20, ""},
		"a frame too small for its head":        {frame(7, metadata, 0), 0, "frame of 7 bytes"},
		"a frame too large":                     {frame(maxPlainFrame+1, metadata, 0), 0, "frame of 1048577 bytes: expected 8 to 1048576"},
		"a frame with records too large":        {frame(maxFrame+1, produce, 9), 0, "frame of 104857601 bytes: expected 8 to 104857600"},
		"an unknown key":                        {frame(20, 12345, 0), 0, "unknown API key 12345"},
		"a negative key":                        {frame(20, -1, 0), 0, "unknown API key -1"},
		"a version of the future":               {frame(20, metadata, newest+1), 0, "of Metadata"},
		"a negative version":                    {frame(20, metadata, -1), 0, "unknown version -1 of Metadata"},
		"HTTP is a very large frame":            {[]byte("GET / HTTP/1.1\r\n"), 0, "frame of 1195725856 bytes"},
		"TLS is a very large frame":             {[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00"), 0, "frame of"},
		"all zeros are a frame without content": {make([]byte, frameHeader), 0, "frame of 0 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			size, err := checkHead([frameHeader]byte(test.frame[:frameHeader]))
			require.Equal(t, test.size, size)
			if test.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.problem)
		})
	}
}

// stream is a connection that only has something to read.
type stream struct {
	net.Conn
	io.Reader
	closed bool
}

func (s *stream) Read(p []byte) (int, error)       { return s.Reader.Read(p) }
func (s *stream) Close() error                     { s.closed = true; return nil }
func (s *stream) RemoteAddr() net.Addr             { return hostPort("client:1") }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

// guarded puts the guard before a connection.
func guarded(conn net.Conn) *guardConn {
	return &guardConn{Conn: conn, guard: &guardListener{log: slog.New(slog.DiscardHandler)}}
}

func TestGuardPassesFramesAsTheyCame(t *testing.T) {
	var sent []byte
	for i := range 20 {
		body := bytes.Repeat([]byte{byte(i)}, i*5000)
		sent = append(sent, frame(uint32(8+len(body)), kmsg.OffsetCommit.Int16(), 9, body...)...)
	}
	readers := map[string]io.Reader{
		"in one piece":                 bytes.NewReader(sent),
		"byte by byte":                 iotest.OneByteReader(bytes.NewReader(sent)),
		"with the end beside the data": iotest.DataErrReader(bytes.NewReader(sent)),
	}
	for name, reader := range readers {
		t.Run(name, func(t *testing.T) {
			conn := &stream{Reader: reader}
			got, err := io.ReadAll(guarded(conn))
			require.NoError(t, err)
			require.Equal(t, sent, got)
			require.False(t, conn.closed)
		})
	}
}

// FuzzGuard holds the guard to this: whatever comes in, what goes out are the whole frames at its
// start, each with a head that the broker can handle; a frame with numbers to cut comes out as
// another of its kind, every other one as it came.
func FuzzGuard(f *testing.F) {
	f.Add(frame(10, 3, 9, 1, 2))
	f.Add(append(frame(10, 3, 9, 1, 2), frame(20, 12345, 0)...))
	f.Add(frame(1<<31, 0, 0))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	for _, req := range greedy() {
		f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn := &stream{Reader: bytes.NewReader(sent)}
		guard := guarded(conn)
		got, err := io.ReadAll(guard)
		require.Equal(t, err != nil, conn.closed, "a refused connection is closed, another is not")
		require.Zero(t, guard.guard.buffered.Load(), "what a connection held is free when it is read to its end")
		for len(got) > 0 {
			require.GreaterOrEqual(t, len(got), frameHeader)
			require.GreaterOrEqual(t, len(sent), frameHeader)
			size, err := checkHead([frameHeader]byte(got[:frameHeader]))
			require.NoError(t, err)
			came, err := checkHead([frameHeader]byte(sent[:frameHeader]))
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(got), 4+size, "only whole frames go out")
			require.GreaterOrEqual(t, len(sent), 4+came)
			require.Equal(t, sent[4:frameHeader], got[4:frameHeader])
			if !isTamed(sent) {
				require.Equal(t, sent[:4+came], got[:4+size])
			}
			got, sent = got[4+size:], sent[4+came:]
		}
	})
}

// isTamed reports whether a frame is of a kind in which the guard may cut numbers.
func isTamed(frame []byte) bool {
	switch kmsg.Key(binary.BigEndian.Uint16(frame[4:6])) {
	case kmsg.Fetch, kmsg.ShareFetch, kmsg.CreateTopics, kmsg.CreatePartitions:
		return true
	}
	return false
}
