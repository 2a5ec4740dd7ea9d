package devbroker

import (
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderflow/orderflow/test/bounded"
)

// fuzzedBroker is a broker and a client of it that means well.
type fuzzedBroker struct {
	*Broker
	honest net.Conn
}

func startFuzzed(t testing.TB) fuzzedBroker {
	broker, err := Start(Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	require.NoError(t, broker.Cluster().CreateTopic("orders", 2, nil))
	honest, err := net.Dial("tcp", broker.Address())
	require.NoError(t, err)
	return fuzzedBroker{broker, honest}
}

func (b fuzzedBroker) close() {
	_ = b.honest.Close() // the broker is about to end
	b.Broker.Close()
}

// answers asks for the metadata of a topic and waits for the answer.
func (b fuzzedBroker) answers(t *testing.T) {
	t.Helper()
	require.NoError(t, b.honest.SetDeadline(time.Now().Add(2*bounded.Patience)))
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("orders")
	req.Topics = append(req.Topics, topic)
	_, err := b.honest.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1))
	require.NoError(t, err)
	size := make([]byte, 4)
	_, err = io.ReadFull(b.honest, size)
	require.NoError(t, err, "the broker does not answer any more")
	_, err = io.CopyN(io.Discard, b.honest, int64(binary.BigEndian.Uint32(size)))
	require.NoError(t, err)
}

// FuzzBrokerPort sends whatever to the broker's port: an honest client is served as before, and
// no frame takes more memory or time than its bytes justify.
func FuzzBrokerPort(f *testing.F) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("c"))
	rnd := rand.New(rand.NewSource(1))
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		req.SetVersion(req.MaxVersion())
		scramble(rnd, reflect.ValueOf(req).Elem(), 0)
		f.Add(formatter.AppendRequest(nil, req, 1))
	}
	for _, req := range greedy() {
		f.Add(formatter.AppendRequest(nil, req, 1))
	}
	// What a hostile client leaves behind is as much as it sent; a new broker now and then keeps
	// that from adding up.
	const inputsPerBroker = 300
	broker := startFuzzed(f)
	f.Cleanup(func() { broker.close() })
	n := 0
	f.Fuzz(func(t *testing.T, sent []byte) {
		if n++; n%inputsPerBroker == 0 {
			broker.close()
			broker = startFuzzed(t)
		}
		bounded.Memory(t, len(sent), func() { takeApart(sent) })
		conn, err := net.Dial("tcp", broker.Address())
		require.NoError(t, err)
		defer conn.Close()
		// Some requests are not answered soon: joining a group, fetching what is not there yet.
		require.NoError(t, conn.SetDeadline(time.Now().Add(3*time.Millisecond)))
		_, _ = conn.Write(sent) // the broker may have closed it already
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		broker.answers(t)
	})
}

// takeApart reads frames as the guard and then the broker's connections do.
func takeApart(sent []byte) {
	for len(sent) >= frameHeader {
		size, err := checkHead([frameHeader]byte(sent))
		if err != nil || len(sent) < 4+size {
			return
		}
		frame, err := tame(sent[:4+size], slog.New(slog.DiscardHandler))
		if err != nil {
			return
		}
		req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(frame[4:])))
		req.SetVersion(int16(binary.BigEndian.Uint16(frame[6:])))
		reader := kbin.Reader{Src: frame[frameHeader:]}
		reader.NullableString()
		if req.IsFlexible() {
			kmsg.SkipTags(&reader)
		}
		_ = req.ReadFrom(reader.Src) // what cannot be read ends the connection
		sent = sent[4+size:]
	}
}

// FuzzRegistryPort sends whatever to the registry's port: it goes on to answer, and what it holds
// is what it would hold after a restart.
func FuzzRegistryPort(f *testing.F) {
	post := func(path, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: r\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	f.Add([]byte(post("/subjects/a/versions", `{"schema":"\"a\""}`) + post("/subjects/a", `{"schema":"\"a\""}`)))
	f.Add([]byte(post("/subjects/a/versions", `{"schema":"\"a\"","id":5,"version":3}`) + "DELETE /subjects/a HTTP/1.1\r\nHost: r\r\n\r\n"))
	f.Add([]byte("PUT /config/a HTTP/1.1\r\nHost: r\r\nContent-Length: 24\r\n\r\n" + `{"compatibility":"NONE"}`))
	f.Add([]byte("PUT /mode HTTP/1.1\r\nHost: r\r\nContent-Length: 17\r\n\r\n" + `{"mode":"IMPORT"}`))
	f.Add([]byte(post("/compatibility/subjects/a/versions/latest?verbose=true", `{"schema":"\"b\""}`)))
	f.Add([]byte("GET /schemas/ids/1 HTTP/1.1\r\nHost: r\r\n\r\nGET /subjects/%2F%00/versions/-1 HTTP/1.0\r\n\r\n"))
	f.Add([]byte("POST /subjects/a/versions HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"))
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, sent []byte) {
		dir, err := os.MkdirTemp(root, "")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		server, err := StartRegistry(RegistryOptions{Address: "127.0.0.1:0", DataDir: dir, CanRead: letters})
		require.NoError(t, err)
		address := strings.TrimPrefix(server.URL(), "http://")

		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(2*bounded.Patience)))
		_, _ = conn.Write(sent) // the registry may have closed it already
		_ = conn.(*net.TCPConn).CloseWrite()
		_, err = io.Copy(io.Discard, conn)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the registry neither answers nor closes the connection")
		require.NoError(t, conn.Close())

		held := contents(server.registry)
		require.NoError(t, server.Close())
		again, err := NewRegistry(filepath.Join(dir, "registry", "changes.jsonl"), letters, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		defer again.Close()
		require.Equal(t, held, contents(again))
	})
}

// contents are the answers by which a registry tells what it holds.
func contents(r *Registry) map[string]string {
	all := map[string]string{}
	get := func(path string) []byte {
		res := httptest.NewRecorder()
		r.ServeHTTP(res, httptest.NewRequest(http.MethodGet, path, nil))
		all[path] = res.Body.String()
		return res.Body.Bytes()
	}
	get("/config")
	get("/mode")
	get("/schemas")
	get("/subjects?deleted=true")
	for id := range 10 {
		get("/schemas/ids/" + strconv.Itoa(id))
		get("/schemas/ids/" + strconv.Itoa(id) + "/versions")
	}
	get("/subjects/a/versions?deleted=true")
	get("/config/a")
	return all
}
