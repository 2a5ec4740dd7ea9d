package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"
)

//go:embed known.yaml
var knownFile []byte

// known is what somebody has looked at because the gate could not decide it.
type known struct {
	Modules []knownModule `yaml:"modules"`
	Files   []knownFileOf `yaml:"files"`
}

// knownModule is a module whose licence is not where it is looked for.
type knownModule struct {
	Module string   `yaml:"module"`
	Texts  []string `yaml:"texts"`
	Reason string   `yaml:"reason"`
}

// knownFileOf is a linked file whose header names a licence that is not permitted.
type knownFileOf struct {
	File    string `yaml:"file"`
	Licence string `yaml:"licence"`
	// Header is the SHA-256 of the header: another one is another matter.
	Header string   `yaml:"header_sha256"`
	Texts  []string `yaml:"texts"`
	Reason string   `yaml:"reason"`
}

func readKnown(content []byte) (known, error) {
	var k known
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&k); err != nil {
		return k, err
	}
	for i, m := range k.Modules {
		if m.Module == "" || len(m.Texts) == 0 || m.Reason == "" {
			return k, fmt.Errorf("field modules[%d]: %q, expected module, texts and reason", i, m.Module)
		}
	}
	for i, f := range k.Files {
		if f.File == "" || f.Licence == "" || f.Header == "" || f.Reason == "" {
			return k, fmt.Errorf("field files[%d]: %q, expected file, licence, header_sha256 and reason", i, f.File)
		}
	}
	return k, nil
}

// finding is a linked module with all that is known about its licence.
type finding struct {
	module
	ids   []string
	texts []text
	// exceptions are its files that are linked in spite of their header.
	exceptions []knownFileOf
}

// judge reads the licences of modules and the headers of their files. The error joins everything
// that is not permitted, and what is listed as known without being needed.
func judge(modules []module, k known) ([]finding, error) {
	byModule := map[string]knownModule{}
	for _, m := range k.Modules {
		byModule[m.Module] = m
	}
	byFile := map[string]knownFileOf{}
	for _, f := range k.Files {
		byFile[f.File] = f
	}
	var all []finding
	var problems []error
	for _, m := range modules {
		f := finding{module: m}
		var err error
		if listed, ok := byModule[m.path]; ok {
			delete(byModule, m.path)
			for _, name := range listed.Texts {
				t, readErr := readText(m.dir, name)
				err = errors.Join(err, readErr)
				f.texts = append(f.texts, t)
			}
		} else {
			f.texts, err = m.texts()
		}
		if err == nil {
			f.ids, err = licencesOf(f.texts)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("module %s %s: %w", m.path, m.version, err))
		}
		for _, name := range m.files {
			content, err := os.ReadFile(filepath.Join(m.dir, filepath.FromSlash(name)))
			if err == nil {
				err = checkHeader(string(content))
			}
			if err == nil {
				continue
			}
			full := m.path + "/" + name
			listed, ok := byFile[full]
			delete(byFile, full)
			if hash := headerHash(string(content)); !ok || listed.Header != hash {
				problems = append(problems, fmt.Errorf("file %s: %w (header_sha256 %s)", full, err, hash))
				continue
			}
			for _, name := range listed.Texts {
				t, err := readText(m.dir, name)
				problems = append(problems, err)
				f.texts = append(f.texts, t)
			}
			f.ids = append(f.ids, listed.Licence)
			f.exceptions = append(f.exceptions, listed)
		}
		slices.Sort(f.ids)
		f.ids = slices.Compact(f.ids)
		all = append(all, f)
	}
	for _, name := range slices.Sorted(maps.Keys(byModule)) {
		problems = append(problems, fmt.Errorf("known.yaml: module %s is not linked: take it out", name))
	}
	for _, name := range slices.Sorted(maps.Keys(byFile)) {
		problems = append(problems, fmt.Errorf("known.yaml: file %s is not linked, or its header is in order: take it out", name))
	}
	return all, errors.Join(problems...)
}

// passedOn are texts that grant nothing: notices, and lists of what is in a module.
var passedOn = regexp.MustCompile(`(?i)notice|\.csv$`)

// licencesOf classifies the texts that are licences.
func licencesOf(texts []text) ([]string, error) {
	var all []string
	for _, t := range texts {
		if passedOn.MatchString(path.Base(t.name)) {
			continue
		}
		ids, err := classify(t.content)
		if err != nil {
			return all, fmt.Errorf("file %s: %w", t.name, err)
		}
		all = append(all, ids...)
	}
	if len(all) == 0 {
		return nil, errors.New("no licence found")
	}
	return all, nil
}

func headerHash(content string) string {
	sum := sha256.Sum256([]byte(headerOf(content)))
	return hex.EncodeToString(sum[:])
}
