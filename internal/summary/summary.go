// Package summary collects what plugins have to say at the end of a run. A plugin adds its
// section when it is built; the command prints all of them once the pipeline has stopped.
package summary

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
)

// Section writes one plugin's part of the report, or nothing if there is nothing to tell.
// It is called once, after the plugin was closed.
type Section func(w io.Writer)

// Report is an ordered collection of sections. It is safe for concurrent use.
type Report struct {
	mu       sync.Mutex
	sections []Section
	err      error
}

// Default is the report of this process, printed by the command line.
var Default = &Report{}

// Add appends a section; sections are printed in the order in which they were added.
func (r *Report) Add(s Section) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sections = append(r.sections, s)
}

// Fail notes that a plugin has ended the run for a reason that the host knows nothing of.
func (r *Report) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = errors.Join(r.err, err)
}

// Err returns why plugins have ended the run, or nil.
func (r *Report) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// WriteTo writes the sections that have something to say, an empty line between them, and
// forgets all of them.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	sections := slices.Clone(r.sections)
	r.sections = nil
	r.mu.Unlock()

	var all bytes.Buffer
	for _, section := range sections {
		var b bytes.Buffer
		section(&b)
		if b.Len() == 0 {
			continue
		}
		if all.Len() > 0 {
			all.WriteByte('\n')
		}
		all.Write(b.Bytes())
	}
	return all.WriteTo(w)
}
