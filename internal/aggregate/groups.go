package aggregate

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Other is the group of all that found no place in a group of its own. Numbers of a group that
// has this very name are counted there too.
const Other = "other"

// MaxKey is the longest key, in bytes, of a group of its own.
const MaxKey = 256

// Groups aggregates numbers overall and by a key. A key beyond the most that were allowed, or
// longer than MaxKey, is counted in the group Other, so memory is bounded and the overall
// figures are exact in any case. Bytes of a key that are not UTF-8 become U+FFFD.
//
// The zero value has no limit on groups. It is not safe for concurrent use.
type Groups struct {
	overall Partial
	groups  map[string]*Partial
	most    int // groups beside Other; 0 is without limit
	// mayLack is set once an Other is merged that somebody else has filled: numbers of any group
	// can be in it.
	mayLack bool
}

// NewGroups returns empty groups of which there can be at most `most`, and Other beside them;
// 0 is without limit.
func NewGroups(most int) Groups { return Groups{most: most} }

// Add counts a number, overall and in the group of that key. The empty key is no group: the
// number counts overall only.
func (g *Groups) Add(key string, d Decimal) {
	g.overall.Add(d)
	if key != "" {
		g.group(key).Add(d)
	}
}

// Merge adds what other has counted. Where the limit on groups is met, keys that come first in
// the alphabet are first.
func (g *Groups) Merge(other Groups) {
	g.overall.Merge(other.overall)
	for key, p := range other.All() {
		g.merge(key, p)
	}
}

// MergePartial adds a partial aggregate of one key, which also counts overall. The empty key
// is no group.
func (g *Groups) MergePartial(key string, p Partial) {
	g.overall.Merge(p)
	if key != "" {
		g.merge(key, p)
	}
}

func (g *Groups) merge(key string, p Partial) {
	g.group(key).Merge(p)
	g.mayLack = g.mayLack || key == Other && p.count > 0
}

// named returns the key under which a key is counted: its own, made valid, or Other.
func (g *Groups) named(key string) string {
	if _, ok := g.groups[key]; ok || key == "" {
		return key
	}
	if !utf8.ValidString(key) {
		key = strings.ToValidUTF8(key, "\uFFFD")
	}
	if len(key) > MaxKey {
		return Other
	}
	if _, ok := g.groups[key]; !ok && key != Other && g.full() {
		return Other
	}
	return key
}

// group returns the group that counts for key, made if need be.
func (g *Groups) group(key string) *Partial {
	key = g.named(key)
	p, ok := g.groups[key]
	if !ok {
		if g.groups == nil {
			g.groups = make(map[string]*Partial)
		}
		p = new(Partial)
		g.groups[strings.Clone(key)] = p // a key may be a piece of a large message
	}
	return p
}

func (g *Groups) full() bool {
	n := len(g.groups)
	if _, ok := g.groups[Other]; ok {
		n--
	}
	return g.most > 0 && n >= g.most
}

// Overall returns the aggregate of all numbers.
func (g Groups) Overall() Partial { return g.overall }

// Group returns the aggregate of one group.
func (g Groups) Group(key string) (Partial, bool) {
	if p, ok := g.groups[key]; ok {
		return *p, true
	}
	return Partial{}, false
}

// Partial tells whether the figures of groups may be too low. Those that were merged may have been
// counted apart, by instances or at times that had no room for some of these groups; what they
// counted as Other instead cannot be told from the rest.
func (g Groups) Partial() bool { return g.mayLack && len(g.groups) > 1 }

// Note says that figures are partial, and why; it is empty where they are not.
func (g Groups) Note() string {
	if !g.Partial() {
		return ""
	}
	return fmt.Sprintf("The figures of groups are partial, they may be too low: %d messages are in %q, as are those of any group that an instance had no room for (max_groups).",
		g.groups[Other].count, Other)
}

// Len returns the number of groups.
func (g Groups) Len() int { return len(g.groups) }

// All goes through the groups in the order of their keys.
func (g Groups) All() iter.Seq2[string, Partial] {
	return func(yield func(string, Partial) bool) {
		for _, key := range slices.Sorted(maps.Keys(g.groups)) {
			if !yield(key, *g.groups[key]) {
				return
			}
		}
	}
}

// Clone returns a copy that shares nothing with g.
func (g Groups) Clone() Groups {
	c := Groups{overall: g.overall, most: g.most, mayLack: g.mayLack, groups: make(map[string]*Partial, len(g.groups))}
	for key, p := range g.groups {
		c.groups[key] = new(*p)
	}
	return c
}

// MarshalJSON writes {"overall":A,"groups":{"<key>":A}}, keys in order, and "partial":true behind
// them if the figures of groups are that.
func (g Groups) MarshalJSON() ([]byte, error) {
	groups := g.groups
	if groups == nil {
		groups = map[string]*Partial{}
	}
	return json.Marshal(struct {
		Overall Partial             `json:"overall"`
		Groups  map[string]*Partial `json:"groups"`
		Partial bool                `json:"partial,omitempty"`
	}{g.overall, groups, g.Partial()})
}
