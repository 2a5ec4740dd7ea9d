package devbroker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// maxBody is the largest request body that the registry reads, as in the handler behind it.
const maxBody = 1 << 20

// CanRead says why a reader with one Avro schema cannot read what a writer with another has
// written, or nil. A schema that is not valid is such a reason.
type CanRead func(reader, writer string) error

// Registry is a fake schema registry: the Confluent HTTP interface for Avro schemas, without
// references. What the handler behind it leaves out, it adds: schemas are checked, also for
// compatibility with earlier versions, and with a journal they survive a restart with their ids.
type Registry struct {
	canRead CanRead
	log     *slog.Logger

	// mu lets one change take place at a time, and nobody see it before it is in the journal.
	mu      sync.RWMutex
	inner   http.Handler
	journal *journal
}

// NewRegistry makes a registry. A path names the file that keeps its subjects; empty keeps them
// in memory.
func NewRegistry(path string, canRead CanRead, log *slog.Logger) (*Registry, error) {
	r := &Registry{inner: srfake.NewRegistry().Handler(), canRead: canRead, log: log}
	if path == "" {
		return r, nil
	}
	j, err := openJournal(path, r.replay)
	if err != nil {
		return nil, fmt.Errorf("restoring registry from %s: %w", path, err)
	}
	if j.torn > 0 {
		log.Warn("Left out an unfinished entry at the end of the registry's journal", "path", path, "bytes", j.torn)
	}
	r.journal = j
	return r, nil
}

// replay makes a change of the journal again. The handler gives out ids in the order of
// registration, so the same changes in the same order make the same registry.
func (r *Registry) replay(c change) error {
	if res := r.do(c.Method, c.Path, c.Body); res.Code/100 != 2 {
		return fmt.Errorf("%s %s: status %d: %s", c.Method, c.Path, res.Code, strings.TrimSpace(res.Body.String()))
	}
	return nil
}

// Close closes the journal.
func (r *Registry) Close() error {
	if r.journal == nil {
		return nil
	}
	return r.journal.close()
}

// ServeHTTP reads the request before it takes the lock, and answers after it has given it back, so
// that a slow client holds up nobody.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, sr.ErrInvalidSchema, fmt.Errorf("reading request: %w", err))
		return
	}
	res := httptest.NewRecorder()
	segments := strings.Split(strings.Trim(req.URL.EscapedPath(), "/"), "/")
	isLookUp := req.Method == http.MethodPost && len(segments) == 2 && segments[0] == "subjects"
	if isLookUp || req.Method == http.MethodGet || req.Method == http.MethodHead {
		r.read(res, req, body)
	} else {
		r.change(res, req, segments, body)
	}
	copyResponse(w, res)
}

// read serves the requests that change nothing.
func (r *Registry) read(w *httptest.ResponseRecorder, req *http.Request, body []byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	switch req.URL.Path {
	case "/":
		answer(w, http.StatusOK, struct{}{})
	case "/schemas/types":
		answer(w, http.StatusOK, []string{"AVRO"})
	default:
		r.forward(w, req, body)
	}
}

// change serves the requests that change something, and compatibility checks.
func (r *Registry) change(w *httptest.ResponseRecorder, req *http.Request, segments []string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()

	switch {
	case segments[0] == "contexts":
		refuse(w, http.StatusNotFound, sr.ErrSubjectNotFound, errors.New("contexts: this registry has the default context only"))
		return
	case len(segments) >= 4 && segments[0] == "compatibility" && req.Method == http.MethodPost:
		version := ""
		if len(segments) > 4 {
			version = segments[4]
		}
		r.compatibility(w, req, segments[2], version, body)
		return
	case len(segments) == 3 && segments[0] == "subjects" && req.Method == http.MethodPost:
		known, ok := r.register(w, segments[1], body)
		if !ok {
			return
		}
		if known {
			r.forward(w, req, body)
			return
		}
	}
	res := httptest.NewRecorder()
	r.forward(res, req, body)
	if res.Code/100 == 2 && r.journal != nil {
		if err := r.journal.append(change{req.Method, req.URL.RequestURI(), string(body)}); err != nil {
			r.log.Error("Refusing a change of the registry", "error", err.Error())
			refuse(w, http.StatusInternalServerError, sr.ErrStoreError, errors.Join(err, r.restore()))
			return
		}
	}
	copyResponse(w, res)
}

// restore makes the registry what its journal says, after a change that could not be written: the
// handler has made it, and would answer with an id that the next start does not know.
func (r *Registry) restore() error {
	r.inner = srfake.NewRegistry().Handler()
	if err := r.journal.load(r.replay); err != nil {
		// With less than the journal has, the next registration would get an id that is taken.
		r.journal.broken = fmt.Errorf("restoring registry from its journal: %w", err)
		return r.journal.broken
	}
	return nil
}

// register checks a schema that is about to be registered. It reports whether the subject has it
// already; when ok is false, the request was answered.
func (r *Registry) register(w http.ResponseWriter, subject string, body []byte) (known, ok bool) {
	schema, err := r.parse(body)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, sr.ErrInvalidSchema, err)
		return false, false
	}
	if r.do(http.MethodPost, "/subjects/"+subject, string(body)).Code == http.StatusOK {
		return true, true
	}
	earlier, err := r.versions(subject)
	if err != nil {
		refuse(w, http.StatusInternalServerError, sr.ErrStoreError, err)
		return false, false
	}
	if err := compatible(r.level(subject), r.canRead, schema, earlier); err != nil {
		refuse(w, http.StatusConflict, sr.ErrIncompatibleSchema, fmt.Errorf("registering schema for subject %s: %w", subject, err))
		return false, false
	}
	return false, true
}

// compatibility answers whether a schema could be registered beside one version or all of them.
func (r *Registry) compatibility(w http.ResponseWriter, req *http.Request, subject, version string, body []byte) {
	schema, err := r.parse(body)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, sr.ErrInvalidSchema, err)
		return
	}
	earlier, err := r.versions(subject)
	switch {
	case err != nil:
	case version != "" && version != "latest":
		var one stored
		one, err = r.version(subject, version)
		earlier = []stored{one}
	case version == "latest" && len(earlier) == 0:
		refuse(w, http.StatusNotFound, sr.ErrSubjectNotFound, fmt.Errorf("subject %s not found", subject))
		return
	}
	if err != nil {
		refuse(w, http.StatusNotFound, sr.ErrVersionNotFound, err)
		return
	}
	result := map[string]any{"is_compatible": true}
	if err := compatible(r.level(subject), r.canRead, schema, earlier); err != nil {
		result["is_compatible"] = false
		if req.URL.Query().Get("verbose") == "true" {
			result["messages"] = []string{err.Error()}
		}
	}
	answer(w, http.StatusOK, result)
}

// parse returns the schema of a request, if it is one that this registry holds.
func (r *Registry) parse(body []byte) (string, error) {
	var schema sr.Schema
	if err := json.Unmarshal(body, &schema); err != nil {
		return "", fmt.Errorf("reading request: %w", err)
	}
	if schema.Type != sr.TypeAvro {
		return "", fmt.Errorf("schema type %s: this registry holds AVRO only", schema.Type)
	}
	if len(schema.References) > 0 {
		return "", errors.New("schema references: this registry holds schemas without references only")
	}
	return schema.Schema, r.canRead(schema.Schema, schema.Schema)
}

// stored is a version of a subject.
type stored struct {
	Version int    `json:"version"`
	Schema  string `json:"schema"`
}

// versions returns a subject's versions, oldest first; none if there is no such subject.
func (r *Registry) versions(subject string) ([]stored, error) {
	res := r.do(http.MethodGet, "/subjects/"+subject+"/versions", "")
	if res.Code == http.StatusNotFound {
		return nil, nil
	}
	var numbers []int
	if err := json.Unmarshal(res.Body.Bytes(), &numbers); err != nil {
		return nil, fmt.Errorf("reading versions of subject %s: %w", subject, err)
	}
	all := make([]stored, 0, len(numbers))
	for _, n := range numbers {
		one, err := r.version(subject, strconv.Itoa(n))
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func (r *Registry) version(subject, version string) (s stored, err error) {
	res := r.do(http.MethodGet, "/subjects/"+subject+"/versions/"+url.PathEscape(version), "")
	if res.Code != http.StatusOK {
		return s, fmt.Errorf("version %s of subject %s not found", version, subject)
	}
	if err := json.Unmarshal(res.Body.Bytes(), &s); err != nil {
		return s, fmt.Errorf("reading version %s of subject %s: %w", version, subject, err)
	}
	return s, nil
}

// level returns the compatibility level that holds for a subject.
func (r *Registry) level(subject string) sr.CompatibilityLevel {
	var config struct {
		Level sr.CompatibilityLevel `json:"compatibilityLevel"`
	}
	res := r.do(http.MethodGet, "/config/"+subject, "")
	if json.Unmarshal(res.Body.Bytes(), &config) != nil {
		return sr.CompatBackward
	}
	return config.Level
}

// do runs a request of our own against the handler.
func (r *Registry) do(method, path, body string) *httptest.ResponseRecorder {
	res := httptest.NewRecorder()
	req, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		res.Code = http.StatusBadRequest
		return res
	}
	r.inner.ServeHTTP(res, req)
	return res
}

// forward gives a request to the handler with the body that was read from it.
func (r *Registry) forward(w http.ResponseWriter, req *http.Request, body []byte) {
	inner := req.Clone(req.Context())
	inner.Body = io.NopCloser(bytes.NewReader(body))
	r.inner.ServeHTTP(w, inner)
}

func copyResponse(w http.ResponseWriter, res *httptest.ResponseRecorder) {
	for name, values := range res.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(res.Code)
	_, _ = w.Write(res.Body.Bytes()) // a client that has gone away is not our concern
}

func refuse(w http.ResponseWriter, status int, kind *sr.Error, cause error) {
	answer(w, status, map[string]any{"error_code": kind.Code, "message": cause.Error()})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone away is not our concern
}

var _ http.Handler = (*Registry)(nil)
