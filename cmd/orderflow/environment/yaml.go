package environment

import (
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// reference is ${NAME} or ${NAME:default}, as the host finds them in a config.
var reference = regexp.MustCompile(`\$\{([0-9A-Za-z_.]+)(?::(?:\$\{[^}]+\}|[^}])*)?\}`)

// InYAML returns a lookup for what the texts of these configs refer to. The error is that of the
// first variable whose value cannot be.
//
// A config is text in which the host replaces ${NAME} before anybody parses it, so a value with a
// quote or a backslash can become something else. Within double quotes YAML has an escape for each
// sign. So a value is escaped where all of its references are in double quotes, as in our own
// pipelines. Where one is written in another way, values are put in as they are, as ever: it may
// be a list, or whatever else its author wants to be read as YAML.
func InYAML(lookup Lookup, texts ...[]byte) (Lookup, error) {
	quoted := map[string]bool{}
	for _, text := range texts {
		for name, is := range references(text) {
			before, seen := quoted[name]
			quoted[name] = is && (before || !seen)
		}
	}
	found := func(name string) (string, bool, error) {
		value, ok := lookup(name)
		if !ok || !quoted[name] && !kinds[name].scalar {
			return value, ok, nil
		}
		value, err := Value(name, value)
		if err == nil && quoted[name] {
			value = escape(value)
		}
		return value, true, err
	}
	var first error
	for _, text := range texts {
		for _, match := range reference.FindAllSubmatch(text, -1) {
			name := string(match[1])
			if _, read := quoted[name]; !read {
				continue // in a comment only
			}
			if _, _, err := found(name); err != nil && first == nil {
				first = err
			}
		}
	}
	return func(name string) (string, bool) {
		value, ok, _ := found(name)
		return value, ok
	}, first
}

// references returns the variables that the values of a YAML text refer to, each with whether it
// is within double quotes only.
func references(text []byte) map[string]bool {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil // it may become YAML by what is put in
	}
	all := map[string]bool{}
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		for _, child := range n.Content {
			walk(child)
		}
		if n.Kind != yaml.ScalarNode {
			return
		}
		for _, match := range reference.FindAllStringSubmatch(n.Value, -1) {
			before, seen := all[match[1]]
			all[match[1]] = n.Style&yaml.DoubleQuotedStyle != 0 && (before || !seen)
		}
	}
	walk(&document)
	return all
}

// escape writes a value for within double quotes. The signs of a variable are escaped too, since
// the host looks for them once more.
func escape(value string) string {
	quoted := strconv.QuoteToASCII(value) // its escapes are those of YAML
	return strings.ReplaceAll(quoted[1:len(quoted)-1], "${", `\x24{`)
}
