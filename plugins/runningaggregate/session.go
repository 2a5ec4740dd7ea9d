package runningaggregate

import (
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/session"
)

// foldable is what a session keeps of one group.
type foldable struct{ aggregate.Partial }

func newFoldable() session.Accumulator { return &foldable{} }

// Fold counts a value that contribute has handed over.
func (f *foldable) Fold(value any) { f.Add(value.(aggregate.Decimal)) }

var _ session.Accumulator = (*foldable)(nil)

// sessions keeps the figures of a processor in step with the session that its messages come
// from. There the truth is in the session: it counts a message once its outcome is committed.
// The owner in memory is the live view: it has also what is still in flight.
type sessions struct {
	name  string
	owner *aggregate.Owner

	mu     sync.Mutex
	source session.Session
	epoch  uint64
}

// order returns the order that a message belongs to, if it comes from a session.
func (s *sessions) order(msg *service.Message) (session.Order, bool) {
	ctx := msg.Context()
	if !session.Carried(ctx) {
		return nil, false
	}
	place, ok := session.PlaceOf(msg.MetaGetImmut)
	if !ok {
		return nil, false
	}
	return session.Of(ctx, place)
}

// follow makes the view begin anew when the session has replaced its state.
func (s *sessions) follow(source session.Session) {
	epoch := source.Epoch()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source == source && s.epoch == epoch {
		return
	}
	s.source, s.epoch = source, epoch
	s.owner.Replace(s.collect(source))
}

// collect merges what the session has counted in the partitions that it owns.
func (s *sessions) collect(source session.Session) aggregate.Groups {
	groups := aggregate.NewGroups(s.owner.Most())
	source.Accumulators(s.name, newFoldable, func(group string, a session.Accumulator) {
		groups.MergePartial(group, a.(*foldable).Partial)
	})
	return groups
}

// snapshot returns the figures for the end of the run: those that the session has committed, or
// those of the owner without a session.
func (s *sessions) snapshot() aggregate.Groups {
	s.mu.Lock()
	source := s.source
	s.mu.Unlock()
	if source == nil {
		return s.owner.Snapshot()
	}
	return s.collect(source)
}
