// Package clients runs clients that share no code with Orderflow, for tests: a Python one on
// librdkafka (confluent-kafka) and fastavro, a Java one on Kafka's own client and Apache Avro,
// and kcat. The schema registry is a fake one throughout.
package clients

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"

	"github.com/orderflow/orderflow/test/child"
)

//go:embed requirements.txt
var requirements []byte

// Record is a record as another client sees it. A nil Key or Value is null.
type Record struct {
	Name      string // given by who wrote it
	Topic     string
	Partition int
	Offset    int64
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Origin is what the record is.
func (r Record) Origin() string { return fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset) }

// Last returns the header that counts where a name repeats.
func (r Record) Last(name string) (string, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Name == name {
			return string(r.Headers[i].Value), true
		}
	}
	return "", false
}

// All returns every header of that name.
func (r Record) All(name string) []string {
	var all []string
	for _, h := range r.Headers {
		if h.Name == name {
			all = append(all, string(h.Value))
		}
	}
	return all
}

// Header is one header; a nil Value is null.
type Header struct {
	Name  string
	Value []byte
}

// UnmarshalJSON reads a pair.
func (h *Header) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&h.Name, &h.Value})
}

// Produce runs produce.py and returns the records that were acknowledged.
func Produce(t testing.TB, args ...string) []Record {
	t.Helper()
	return run(t, "produce.py", args)
}

// Read runs read_dlq.py and returns the committed records of a topic.
func Read(t testing.TB, brokers, topic string) []Record {
	t.Helper()
	return run(t, "read_dlq.py", []string{"--brokers", brokers, "--topic", topic})
}

func run(t testing.TB, script string, args []string) []Record {
	t.Helper()
	root := child.Root(t)
	cmd := exec.Command(python(t), append([]string{filepath.Join(root, "test", "clients", script)}, args...)...)
	cmd.Dir = root
	return output(t, cmd)
}

// output runs a client and reads the records that it prints.
func output(t testing.TB, cmd *exec.Cmd) []Record {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running %v: %v\n%s", cmd.Args, err, stderr.String())
	}
	var records []Record
	for lines := json.NewDecoder(bytes.NewReader(out)); ; {
		var r Record
		err := lines.Decode(&r)
		if errors.Is(err, io.EOF) {
			return records
		}
		if err != nil {
			t.Fatalf("reading the output of %v: %v", cmd.Args, err)
		}
		records = append(records, r)
	}
}

// python returns the interpreter of a virtual environment with what the scripts need. It is made
// once for each version of requirements.txt and kept in the user's cache directory.
func python(t testing.TB) string {
	t.Helper()
	cache := child.Cache(t, "python")
	dir := filepath.Join(cache, fmt.Sprintf("venv-%x", sha256.Sum256(requirements))[:17])
	interpreter, ready := filepath.Join(dir, "bin", "python"), filepath.Join(dir, "ready")

	lock := flock.New(filepath.Join(cache, "lock"))
	if err := lock.Lock(); err != nil {
		t.Fatalf("locking the Python environment: %v", err)
	}
	defer func() { _ = lock.Unlock() }() // closing the file unlocks it as well
	if _, err := os.Stat(ready); err == nil {
		return interpreter
	}
	// An environment cannot be moved, so a file says that it is complete.
	for _, step := range [][]string{
		{"python3", "-m", "venv", "--clear", dir},
		{interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:",
			"--requirement", filepath.Join(child.Root(t), "test", "clients", "requirements.txt")},
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("making a Python environment: %v: %v\n%s", step, err, out)
		}
	}
	if err := os.WriteFile(ready, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return interpreter
}
