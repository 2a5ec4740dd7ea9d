// Package triage sorts dead letters into groups of one cause each, the largest first, and says
// what can be done about them.
package triage

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/fingerprint"
)

const (
	// Unknown is the class or code of a letter that names none.
	Unknown = "unknown"
	// Other is the id and code of the group of all that found no group of their own.
	Other = "other"

	// maxKept bounds the texts that are kept of a letter.
	maxKept = 256
)

// Entry is one dead letter.
type Entry struct {
	// Class, Code and Text are those of its failure.
	Class, Code, Text string
	// At is when it failed, zero if that is not known.
	At time.Time
	// Name is what its order is called.
	Name string
	// Value is what its order is worth, if it HasValue.
	Value    aggregate.Decimal
	HasValue bool
	// Decodable tells whether its order can be read.
	Decodable bool
	// NoRecord tells that it only says where its record is.
	NoRecord bool
}

// Group is what is known of the dead letters of one cause.
type Group struct {
	// ID is the same in every process: see fingerprint.ID.
	ID, Class, Code, Pattern string
	Count                    int64
	Decodable                int64 // how many of them can be read
	Value                    aggregate.Partial
	First, Last              time.Time // zero if no time is known
	Example                  string    // the name of the first one

	noRecord int64 // how many of them only say where their record is
}

// Rate is how many there are a minute, between the first and the last. It is 0 where no time
// passed between them.
func (g *Group) Rate() float64 {
	if passed := g.Last.Sub(g.First).Minutes(); passed > 0 {
		return float64(g.Count) / passed
	}
	return 0
}

// Advice says what can be done about them.
func (g *Group) Advice() Advice {
	switch {
	case g.ID == Other:
		return Look
	case g.noRecord == g.Count:
		return None
	}
	return Advise(g.Class, g.Code, g.Decodable > 0)
}

// Groups collects dead letters. Its memory is bounded by the number of groups; counts and values
// are exact. It is not safe for concurrent use.
type Groups struct {
	most  int
	count int64
	value aggregate.Partial
	byID  map[string]*Group
}

// NewGroups tells at most that many groups apart; the rest is one more, Other.
func NewGroups(most int) *Groups { return &Groups{most: most, byID: map[string]*Group{}} }

// Add counts an entry. It returns its group, and whether that is its first.
func (gs *Groups) Add(e Entry) (g *Group, isNew bool) {
	class, code := cmp.Or(keep(e.Class), Unknown), cmp.Or(keep(e.Code), Unknown)
	pattern := fingerprint.Pattern(e.Text)
	id := fingerprint.ID(class, code, pattern)
	g = gs.byID[id]
	if g == nil && gs.Len() >= gs.most {
		id, class, code, pattern = Other, "-", Other, "(causes beyond the limit)"
		g = gs.byID[id]
	}
	if g == nil {
		g = &Group{ID: id, Class: class, Code: code, Pattern: pattern, First: e.At, Last: e.At, Example: keep(e.Name)}
		gs.byID[id] = g
		isNew = true
	}
	gs.count++
	g.Count++
	if e.Decodable {
		g.Decodable++
	}
	if e.NoRecord {
		g.noRecord++
	}
	if !e.At.IsZero() && (g.First.IsZero() || e.At.Before(g.First)) {
		g.First = e.At
	}
	if e.At.After(g.Last) {
		g.Last = e.At
	}
	if e.HasValue {
		g.Value.Add(e.Value)
		gs.value.Add(e.Value)
	}
	return g, isNew
}

// Len returns how many groups there are, Other not counted.
func (gs *Groups) Len() int {
	if gs.byID[Other] != nil {
		return len(gs.byID) - 1
	}
	return len(gs.byID)
}

// Count returns how many dead letters there are.
func (gs *Groups) Count() int64 { return gs.count }

// Value returns what all of them are worth.
func (gs *Groups) Value() aggregate.Partial { return gs.value }

// Share returns which part of all a group has, from 0 to 1.
func (gs *Groups) Share(g *Group) float64 { return float64(g.Count) / float64(gs.count) }

// Sorted returns the groups, the largest first.
func (gs *Groups) Sorted() []*Group {
	groups := make([]*Group, 0, len(gs.byID))
	for _, g := range gs.byID {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), a.First.Compare(b.First), cmp.Compare(a.ID, b.ID))
	})
	return groups
}

// keep cuts a text that stays in memory, and lets go of the message that it is a part of.
func keep(s string) string {
	if len(s) > maxKept {
		end := maxKept
		for end > maxKept-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.Clone(s)
}
