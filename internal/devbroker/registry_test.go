package devbroker

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
)

// letters stands in for Avro: a schema is a JSON string, and a reader can read what has no letter
// that it lacks.
func letters(reader, writer string) error {
	for _, s := range []string{reader, writer} {
		if !strings.HasPrefix(s, `"`) {
			return errors.New("not a schema")
		}
	}
	for _, letter := range writer {
		if !strings.ContainsRune(reader, letter) {
			return errors.New("lacks " + string(letter))
		}
	}
	return nil
}

func registry(t *testing.T, path string) *Registry {
	t.Helper()
	r, err := NewRegistry(path, letters, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// registryClient serves a registry and returns a client of it.
func registryClient(t *testing.T, r *Registry) *sr.Client {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	c, err := sr.NewClient(sr.URLs(server.URL))
	require.NoError(t, err)
	return c
}

func avro(text string) sr.Schema { return sr.Schema{Schema: text} }

func TestRegistryChecksCompatibility(t *testing.T) {
	tests := map[string]struct {
		level   sr.CompatibilityLevel
		schemas []string
		problem string
	}{
		"by default a new schema reads old data":  {0, []string{`"a"`, `"ab"`, `"abc"`}, ""},
		"by default one that cannot is refused":   {0, []string{`"ab"`, `"a"`}, "reading data of version 1 with it: lacks b"},
		"backward looks at the latest only":       {sr.CompatBackward, []string{`"a"`, `"ab"`, `"b"`}, "version 2 with it: lacks a"},
		"backward transitive looks at all":        {sr.CompatBackwardTransitive, []string{`"a"`, `"ab"`, `"abc"`}, ""},
		"forward is the other way":                {sr.CompatForward, []string{`"ab"`, `"a"`}, ""},
		"forward refuses what the old cannot":     {sr.CompatForward, []string{`"a"`, `"ab"`}, "reading its data with version 1: lacks b"},
		"full is both":                            {sr.CompatFull, []string{`"ab"`, `"ba"`}, ""},
		"full refuses one way":                    {sr.CompatFull, []string{`"a"`, `"ab"`}, "lacks b"},
		"full transitive goes back to the first":  {sr.CompatFullTransitive, []string{`"ab"`, `"ba"`, `"a"`}, "lacks b"},
		"none lets anything through":              {sr.CompatNone, []string{`"a"`, `"b"`}, ""},
		"none still wants a schema":               {sr.CompatNone, []string{`{}`}, "not a schema"},
		"a schema that is none is refused at all": {0, []string{`{"type":"recrod"}`}, "not a schema"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			c := registryClient(t, registry(t, ""))
			if test.level != 0 {
				require.NoError(t, c.SetCompatibility(ctx, sr.SetCompatibility{Level: test.level}, "orders-value")[0].Err)
			}
			last := len(test.schemas) - 1
			for _, schema := range test.schemas[:last] {
				_, err := c.CreateSchema(ctx, "orders-value", avro(schema))
				require.NoError(t, err)
			}
			_, err := c.CreateSchema(ctx, "orders-value", avro(test.schemas[last]))
			if test.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.problem)
		})
	}
}

func TestRegistryAnswersCompatibilityChecks(t *testing.T) {
	ctx := t.Context()
	c := registryClient(t, registry(t, ""))
	for _, schema := range []string{`"a"`, `"ab"`} {
		_, err := c.CreateSchema(ctx, "orders-value", avro(schema))
		require.NoError(t, err)
	}
	tests := map[string]struct {
		version int
		schema  string
		want    bool
	}{
		"with the latest":        {-1, `"abc"`, true},
		"not with the latest":    {-1, `"ac"`, false},
		"with an earlier one":    {1, `"ac"`, true},
		"not with an earlier":    {1, `"b"`, false},
		"with a version by name": {2, `"ab"`, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := c.CheckCompatibility(ctx, "orders-value", test.version, avro(test.schema))
			require.NoError(t, err)
			require.Equal(t, test.want, res.Is)
		})
	}
	_, err := c.CheckCompatibility(ctx, "orders-value", 7, avro(`"a"`))
	require.ErrorContains(t, err, "version 7 of subject orders-value not found")
}

func TestRegistryRefuses(t *testing.T) {
	tests := map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"another kind of schema":  {"POST", "/subjects/s/versions", `{"schemaType":"PROTOBUF","schema":"message A {}"}`, 422, "holds AVRO only"},
		"references":              {"POST", "/subjects/s/versions", `{"schema":"\"a\"","references":[{"name":"b","subject":"b","version":1}]}`, 422, "without references only"},
		"a body that is no JSON":  {"POST", "/subjects/s/versions", `{`, 422, "reading request"},
		"a body that is too long": {"POST", "/subjects/s/versions", strings.Repeat("x", maxBody+1), 413, "too large"},
		"contexts":                {"POST", "/contexts/.c/subjects/s/versions", `{"schema":"\"a\""}`, 404, "default context only"},
		"what it does not know":   {"POST", "/nothing", ``, 404, "not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			res := httptest.NewRecorder()
			registry(t, "").ServeHTTP(res, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
			require.Equal(t, test.status, res.Code)
			require.Contains(t, res.Body.String(), test.says)
		})
	}
}

func TestRegistryAnswersWhatToolsAskFirst(t *testing.T) {
	for path, want := range map[string]string{"/": `{}`, "/schemas/types": `["AVRO"]`, "/subjects": `[]`} {
		res := httptest.NewRecorder()
		registry(t, "").ServeHTTP(res, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, res.Code, path)
		require.JSONEq(t, want, res.Body.String(), path)
	}
}

func TestRegistrySurvivesRestart(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "registry", "changes.jsonl")
	first := registry(t, path)
	c := registryClient(t, first)
	ids := map[string]int{}
	for _, schema := range []string{`"a"`, `"ab"`, `"abc"`} {
		s, err := c.CreateSchema(ctx, "orders-value", avro(schema))
		require.NoError(t, err)
		ids[schema] = s.ID
	}
	// One id under two subjects, a refused schema, a deleted version and settings: all of it has
	// to come back, and what had no effect must not grow the file.
	other, err := c.CreateSchema(ctx, "other/with a slash", avro(`"ab"`))
	require.NoError(t, err)
	require.Equal(t, ids[`"ab"`], other.ID)
	_, err = c.CreateSchema(ctx, "orders-value", avro(`"z"`))
	require.Error(t, err)
	require.NoError(t, c.DeleteSchema(ctx, "orders-value", 1, sr.SoftDelete))
	require.NoError(t, c.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatNone}, "other")[0].Err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for range 5 {
		_, err := c.CreateSchema(ctx, "orders-value", avro(`"abc"`))
		require.NoError(t, err)
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.NoError(t, first.Close())

	c = registryClient(t, registry(t, path))
	for schema, id := range ids {
		s, err := c.SchemaByID(ctx, id)
		require.NoError(t, err)
		require.Equal(t, schema, s.Schema)
	}
	versions, err := c.SubjectVersions(ctx, "orders-value")
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, versions)
	require.Equal(t, sr.CompatNone, c.Compatibility(ctx, "other")[0].Level)
	next, err := c.CreateSchema(ctx, "orders-value", avro(`"abcd"`))
	require.NoError(t, err)
	require.Equal(t, 4, next.ID)
	require.Equal(t, 4, next.Version)
}

func TestJournalEndsInTheMiddleOfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "changes.jsonl")
	r := registry(t, path)
	_, err := registryClient(t, r).CreateSchema(t.Context(), "s", avro(`"a"`))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := 1; cut < len(whole); cut++ {
		require.NoError(t, os.WriteFile(path, append(append([]byte{}, whole...), whole[:cut]...), 0o644))
		again := registry(t, path)
		require.EqualValues(t, cut, again.journal.torn)
		require.NoError(t, again.Close())
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, whole, got)
	}
}

func TestDamagedJournalIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "changes.jsonl")
	for name, content := range map[string]string{
		"no JSON":                     "what\n",
		"a change that has no effect": `{"method":"POST","path":"/nothing"}` + "\n",
		"a path that is none":         `{"method":"POST","path":"::"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
			_, err := NewRegistry(path, letters, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, "restoring registry from "+path+": line 1")
		})
	}
}

func TestStartRegistry(t *testing.T) {
	o := RegistryOptions{Address: "127.0.0.1:0", DataDir: t.TempDir(), CanRead: letters}
	s, err := StartRegistry(o)
	require.NoError(t, err)
	c, err := sr.NewClient(sr.URLs(s.URL()))
	require.NoError(t, err)
	_, err = c.CreateSchema(t.Context(), "s", avro(`"a"`))
	require.NoError(t, err)
	taken := o
	taken.Address, taken.DataDir = strings.TrimPrefix(s.URL(), "http://"), ""
	_, err = StartRegistry(taken)
	require.ErrorContains(t, err, "listening for registry clients")
	require.NoError(t, s.Close())

	s, err = StartRegistry(o)
	require.NoError(t, err)
	defer s.Close()
	c, err = sr.NewClient(sr.URLs(s.URL()))
	require.NoError(t, err)
	_, err = c.SchemaByID(t.Context(), 1)
	require.NoError(t, err)
}

// failing is a disk on which a write fits in part, or cannot be flushed, or not be taken back.
type failing struct {
	disk
	fits            int // bytes of a write, if there is a writeErr
	writeErr        error
	syncErr, cutErr error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.writeErr == nil {
		return f.disk.Write(p)
	}
	n, err := f.disk.Write(p[:f.fits])
	return n, errors.Join(err, f.writeErr)
}

func (f *failing) Sync() error {
	if f.syncErr != nil {
		return f.syncErr
	}
	return f.disk.Sync()
}

func (f *failing) Truncate(size int64) error {
	if f.cutErr != nil {
		return f.cutErr
	}
	return f.disk.Truncate(size)
}

// An id is answered only when it is on the disk. What could not be written has not happened, also
// for those who look, and the next registration gets its id.
func TestRegistryOnAFullDisk(t *testing.T) {
	ctx := t.Context()
	tests := map[string]failing{
		"nothing fits":         {writeErr: syscall.ENOSPC},
		"a part fits":          {writeErr: syscall.ENOSPC, fits: 20},
		"it cannot be flushed": {syncErr: syscall.EIO},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "registry", "changes.jsonl")
			r := registry(t, path)
			c := registryClient(t, r)
			first, err := c.CreateSchema(ctx, "orders-value", avro(`"a"`))
			require.NoError(t, err)
			require.Equal(t, 1, first.ID)
			before, err := os.ReadFile(path)
			require.NoError(t, err)

			sound := r.journal.file
			fault.disk = sound
			r.journal.file = &fault
			for range 2 { // the second time it must not be known already
				_, err = c.CreateSchema(ctx, "orders-value", avro(`"ab"`))
				require.ErrorContains(t, err, "writing registry journal: ")
				_, err = c.SchemaByID(ctx, 2)
				require.ErrorContains(t, err, "schema not found")
				versions, err := c.SubjectVersions(ctx, "orders-value")
				require.NoError(t, err)
				require.Equal(t, []int{1}, versions)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(before), string(after), "the start of a line would spoil the next")

			r.journal.file = sound
			second, err := c.CreateSchema(ctx, "orders-value", avro(`"abc"`))
			require.NoError(t, err)
			require.Equal(t, 2, second.ID)
			require.NoError(t, r.Close())
			known, err := registryClient(t, registry(t, path)).SchemaByID(ctx, 2)
			require.NoError(t, err)
			require.Equal(t, `"abc"`, known.Schema)
		})
	}
}

// The start of a line that is still there must not be written behind.
func TestRegistryTakesNoMoreUntilALineCanBeTakenBack(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "registry", "changes.jsonl")
	r := registry(t, path)
	c := registryClient(t, r)
	_, err := c.CreateSchema(ctx, "orders-value", avro(`"a"`))
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	sound := r.journal.file
	stuck := &failing{disk: sound, writeErr: syscall.ENOSPC, fits: 20, cutErr: syscall.EIO}
	r.journal.file = stuck
	_, err = c.CreateSchema(ctx, "orders-value", avro(`"ab"`))
	require.ErrorContains(t, err, "its last line could not be taken back")
	stuck.writeErr = nil
	_, err = c.CreateSchema(ctx, "orders-value", avro(`"ab"`))
	require.ErrorContains(t, err, "restoring registry from its journal: input/output error")
	left, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, left, len(before)+20)

	r.journal.file = sound
	_, err = c.CreateSchema(ctx, "orders-value", avro(`"ab"`))
	require.Error(t, err, "it refuses this one, and takes the line back")
	second, err := c.CreateSchema(ctx, "orders-value", avro(`"ab"`))
	require.NoError(t, err)
	require.Equal(t, 2, second.ID)
	require.NoError(t, r.Close())
	versions, err := registryClient(t, registry(t, path)).SubjectVersions(ctx, "orders-value")
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, versions)
}

func TestJournalHasABound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry", "changes.jsonl")
	r := registry(t, path)
	r.journal.size = maxJournal - 10
	err := r.journal.append(change{"PUT", "/config", ""})
	require.ErrorContains(t, err, "it has 268435446 of 268435456 bytes; begin anew in another directory")
}

// Other users of the machine have no business in the data, also of an older version.
func TestDataIsPrivate(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "registry")
	require.NoError(t, os.MkdirAll(old, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "kafka"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(old, "changes.jsonl"), nil, 0o644))
	require.NoError(t, os.Chmod(dir, 0o755)) // it may be a home directory: only what is in it is ours
	start(t, Options{DataDir: dir})
	registry(t, filepath.Join(old, "changes.jsonl"))
	for name, want := range map[string]os.FileMode{
		"": 0o755, "kafka": 0o700, "lock": 0o600, "registry": 0o700, "registry/changes.jsonl": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), name)
	}
	fresh := filepath.Join(dir, "fresh")
	start(t, Options{DataDir: fresh})
	info, err := os.Stat(fresh)
	require.NoError(t, err)
	require.EqualValues(t, 0o700, info.Mode().Perm())
}
