// Package topics is the command `orderflow topics`: it makes the topics that a YAML file lists.
package topics

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/orderflow/orderflow/cmd/orderflow/environment"
)

// Topic is a topic as it should be.
type Topic struct {
	Name       string `yaml:"name"`
	Partitions int32  `yaml:"partitions"`
	// ReplicationFactor of -1 is the broker's default; 0 (not given) is that of the file.
	ReplicationFactor int16             `yaml:"replication_factor"`
	Configs           map[string]string `yaml:"configs"`
}

type file struct {
	ReplicationFactor *int16  `yaml:"replication_factor"`
	Topics            []Topic `yaml:"topics"`
}

// Parse reads a list of topics. Variables of the form ${NAME} and ${NAME:default}, as in
// pipelines, are looked up first.
func Parse(content []byte, lookup func(string) (string, bool)) ([]Topic, error) {
	lookup, err := environment.InYAML(lookup, content)
	if err != nil {
		return nil, err
	}
	content, err = interpolate(content, lookup)
	if err != nil {
		return nil, err
	}
	var f file
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, plain(err)
	}
	if len(f.Topics) == 0 {
		return nil, errors.New("field topics: is empty, expected at least one topic")
	}
	fallback := int16(-1)
	if f.ReplicationFactor != nil {
		fallback = *f.ReplicationFactor
		if err := checkReplication(fallback); err != nil {
			return nil, err
		}
	}
	seen := map[string]int{}
	for i := range f.Topics {
		t := &f.Topics[i]
		if t.ReplicationFactor == 0 {
			t.ReplicationFactor = fallback
		}
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("field topics[%d].%w", i, err)
		}
		if first, ok := seen[t.Name]; ok {
			return nil, fmt.Errorf("field topics[%d].name: %q is already the name of topics[%d]", i, t.Name, first)
		}
		seen[t.Name] = i
	}
	return f.Topics, nil
}

// plain words the YAML library's complaints without the names of our types.
func plain(err error) error {
	wrong, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	lines := make([]string, len(wrong.Errors))
	for i, text := range wrong.Errors {
		lines[i] = unknownField.ReplaceAllString(text, "field $1: is unknown")
	}
	return errors.New(strings.Join(lines, "; "))
}

var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([^}]*))?\}`)

// interpolate replaces variables line by line, and leaves comments alone.
func interpolate(content []byte, lookup func(string) (string, bool)) ([]byte, error) {
	var missing []string
	lines := strings.SplitAfter(string(content), "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		lines[i] = variable.ReplaceAllStringFunc(line, func(match string) string {
			groups := variable.FindStringSubmatch(match)
			if value, ok := lookup(groups[1]); ok && value != "" {
				return value
			}
			if !strings.Contains(match, ":") {
				missing = append(missing, groups[1])
			}
			return groups[2]
		})
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("variable %s is not set and has no default", missing[0])
	}
	return []byte(strings.Join(lines, "")), nil
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// check returns an error that begins with the name of the field.
func (t *Topic) check() error {
	switch {
	case t.Name == "":
		return errors.New("name: is empty")
	case !validName.MatchString(t.Name) || t.Name == "." || t.Name == "..":
		return fmt.Errorf("name: %q, expected 1 to 249 of a-z A-Z 0-9 . _ -", t.Name)
	case t.Partitions < 1 && t.Partitions != -1:
		return fmt.Errorf("partitions: %d of topic %s, expected a number above 0, or -1 for the broker's default", t.Partitions, t.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Configs)) {
		if name == "" || t.Configs[name] == "" {
			return fmt.Errorf("configs.%s: %q of topic %s, expected a value", name, t.Configs[name], t.Name)
		}
	}
	return checkReplication(t.ReplicationFactor)
}

func checkReplication(n int16) error {
	if n < 1 && n != -1 {
		return fmt.Errorf("replication_factor: %d, expected a number above 0, or -1 for the broker's default", n)
	}
	return nil
}
