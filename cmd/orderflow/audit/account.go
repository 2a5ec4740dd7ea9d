package audit

import (
	"fmt"
	"slices"
)

// Outcome is what became of an order.
type Outcome int

// The outcomes that an order can have.
const (
	Processed Outcome = iota
	DeadLettered
	Waiting
)

// Sums counts orders by what became of them.
type Sums struct {
	Orders       int64 `json:"orders"`
	Processed    int64 `json:"processed"`
	DeadLettered int64 `json:"dead_lettered"`
	Waiting      int64 `json:"waiting"`
	// Compacted are those orders that have an outcome and no record any more, since their topic was
	// compacted.
	Compacted int64 `json:"compacted"`
	// Dropped are those that the user's own pipeline ended without a record.
	Dropped int64 `json:"dropped"`
	// Reread are those that were read once more, since the group's offset was reset backwards.
	// Each may have one more outcome.
	Reread int64 `json:"reread"`
	// Skipped are those that were never read, since the group's offset was reset forwards.
	Skipped int64 `json:"skipped"`
	// Missing are orders and rereads without an outcome, beyond the dropped and the skipped ones.
	Missing int64 `json:"missing"`
	// Duplicates are outcomes beyond the first of an order and those of rereads, and outcomes of
	// no order at all.
	Duplicates int64 `json:"duplicates"`
}

// PartitionSums are the sums of one source partition.
type PartitionSums struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Sums
}

// Report is what an audit found.
type Report struct {
	OK bool `json:"ok"`
	Sums
	// Notes are what has to be known to judge it.
	Notes      []string        `json:"notes,omitempty"`
	Partitions []PartitionSums `json:"partitions"`
}

// Account matches the orders of one partition with their outcomes.
type Account struct {
	// From and To bound the offsets that were read: From is the first, To is behind the last.
	From, To int64
	// Dropped is how many were dropped, and Reread how many were read once more, since Start.
	Dropped, Reread, Start int64
	// Compacted tells that the topic is compacted: what was at an offset that holds nothing may
	// have been an order.
	Compacted bool

	outcomes []uint8 // by offset: what is there, and its number of outcomes
	sums     Sums
}

const (
	isOrder   = 0x80
	isSkipped = 0x40
	isOther   = 0x20
	mostSeen  = 0x1f
)

// NewAccount returns an account of the orders at the offsets from..to-1.
func NewAccount(from, to int64) *Account {
	if to < from {
		to = from
	}
	return &Account{From: from, To: to, Start: from, outcomes: make([]uint8, to-from)}
}

// Order notes that there is an order at offset.
func (a *Account) Order(offset int64) {
	if offset >= a.From && offset < a.To {
		a.outcomes[offset-a.From] |= isOrder
	}
}

// Other notes that there is something at offset that is no order: a transaction's marker, or a record
// of one that was aborted.
func (a *Account) Other(offset int64) {
	if offset >= a.From && offset < a.To && a.outcomes[offset-a.From]&isOrder == 0 {
		a.outcomes[offset-a.From] |= isOther
	}
}

// Holes is how many offsets there are at which no order was noted, nor anything else; with is how
// many of them have an outcome.
func (a *Account) Holes() (all, with int64) {
	for _, n := range a.outcomes {
		if n&(isOrder|isOther) == 0 {
			all++
			with += min(1, int64(n&mostSeen))
		}
	}
	return all, with
}

// Skip notes that the orders at the offsets from..to-1 were not read.
func (a *Account) Skip(from, to int64) {
	for offset := max(from, a.From); offset < min(to, a.To); offset++ {
		a.outcomes[offset-a.From] |= isSkipped
	}
}

// Outcome notes an outcome of the order at offset. Those of orders before From are of orders
// that retention has deleted, those from To on are of orders that were read later.
func (a *Account) Outcome(offset int64, o Outcome) {
	if offset < a.From || offset >= a.To {
		return
	}
	switch o {
	case Processed:
		a.sums.Processed++
	case DeadLettered:
		a.sums.DeadLettered++
	case Waiting:
		a.sums.Waiting++
	}
	if n := a.outcomes[offset-a.From]; n&mostSeen < mostSeen {
		a.outcomes[offset-a.From] = n + 1
	}
}

// Sums closes the account.
func (a *Account) Sums() Sums {
	s := a.sums
	var open int64
	for _, n := range a.outcomes {
		seen := int64(n & mostSeen)
		switch {
		case n&isOrder != 0:
		case a.Compacted && n&isOther == 0 && seen > 0:
			s.Compacted++
		default:
			s.Duplicates += seen
			continue
		}
		s.Orders++
		switch {
		case seen > 0:
			s.Duplicates += seen - 1
		case n&isSkipped != 0:
			s.Skipped++
		default:
			open++
		}
	}
	s.Dropped, s.Reread = a.Dropped, a.Reread
	holes, _ := a.Holes()
	if a.From > a.Start || a.Compacted && holes > 0 { // orders were deleted, and some of the dropped and reread with them
		s.Dropped, s.Reread = min(open, a.Dropped), min(s.Duplicates, a.Reread)
	}
	s.Missing = open - s.Dropped
	s.Duplicates -= s.Reread
	if s.Duplicates < 0 { // a reread has no outcome, unless that was to be dropped
		s.Missing, s.Duplicates = s.Missing-s.Duplicates, 0
	}
	return s
}

// Summarise adds up the partitions, which it puts in order.
func Summarise(partitions []PartitionSums) Report {
	slices.SortFunc(partitions, func(a, b PartitionSums) int {
		if a.Topic != b.Topic {
			if a.Topic < b.Topic {
				return -1
			}
			return 1
		}
		return int(a.Partition) - int(b.Partition)
	})
	r := Report{OK: true, Partitions: partitions}
	for _, p := range partitions {
		r.Orders += p.Orders
		r.Processed += p.Processed
		r.DeadLettered += p.DeadLettered
		r.Waiting += p.Waiting
		r.Compacted += p.Compacted
		r.Dropped += p.Dropped
		r.Reread += p.Reread
		r.Skipped += p.Skipped
		r.Missing += p.Missing
		r.Duplicates += p.Duplicates
		if p.Missing != 0 || p.Duplicates != 0 {
			r.OK = false
		}
	}
	return r
}

func (s Sums) String() string {
	var compacted, reread, skipped string // which are rare
	if s.Compacted > 0 {
		compacted = fmt.Sprintf(" (%d compacted away)", s.Compacted)
	}
	if s.Reread > 0 {
		reread = fmt.Sprintf(" + %d read again", s.Reread)
	}
	if s.Skipped > 0 {
		skipped = fmt.Sprintf(" + %d skipped", s.Skipped)
	}
	return fmt.Sprintf("%d orders%s%s = %d processed + %d dead-lettered + %d waiting + %d dropped%s; %d missing, %d duplicates",
		s.Orders, compacted, reread, s.Processed, s.DeadLettered, s.Waiting, s.Dropped, skipped, s.Missing, s.Duplicates)
}
