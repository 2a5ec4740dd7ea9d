package aggregate

import "sync"

// Owner holds groups for many goroutines, behind one lock.
type Owner struct {
	mu     sync.Mutex
	groups Groups
}

// NewOwner returns an owner of groups that are as yet empty, with at most maxGroups of them.
func NewOwner(maxGroups int) *Owner { return &Owner{groups: NewGroups(maxGroups)} }

// Apply counts a number and returns the overall count and average that include it and what was
// counted before.
func (o *Owner) Apply(group string, value Decimal) (count int64, average Decimal) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.groups.Add(group, value)
	return o.groups.overall.count, o.groups.overall.Average()
}

// Snapshot returns a copy of the groups as they are now.
func (o *Owner) Snapshot() Groups {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.groups.Clone()
}

// Replace forgets all that was counted and goes on from groups, of which it keeps a copy. The
// limit on groups stays that of the owner.
func (o *Owner) Replace(groups Groups) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := NewGroups(o.groups.most)
	fresh.Merge(groups)
	o.groups = fresh
}

// Most returns the limit on groups.
func (o *Owner) Most() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.groups.most
}

// Named returns the name under which a group is counted: its own, or that of the rest.
func (o *Owner) Named(group string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.groups.named(group)
}
