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
	// Dropped are those that the user's own pipeline ended without a record.
	Dropped int64 `json:"dropped"`
	// Missing are those without an outcome, beyond the dropped ones.
	Missing int64 `json:"missing"`
	// Duplicates are outcomes beyond the first of an order, and those of no order at all.
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
	Partitions []PartitionSums `json:"partitions"`
}

// Account matches the orders of one partition with their outcomes.
type Account struct {
	// From and To bound the offsets that were read: From is the first, To is behind the last.
	From, To int64
	// Dropped is how many were dropped, since Start.
	Dropped, Start int64

	outcomes []uint8 // by offset: whether there is an order, and its number of outcomes
	sums     Sums
}

const (
	isOrder  = 0x80
	mostSeen = 0x7f
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
		if n&isOrder == 0 {
			s.Duplicates += seen
			continue
		}
		s.Orders++
		if seen == 0 {
			open++
		} else {
			s.Duplicates += seen - 1
		}
	}
	s.Dropped = a.Dropped
	if a.From > a.Start {
		s.Dropped = min(open, a.Dropped) // retention has deleted orders, and some of the dropped with them
	}
	s.Missing = open - s.Dropped
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
		r.Dropped += p.Dropped
		r.Missing += p.Missing
		r.Duplicates += p.Duplicates
		if p.Missing != 0 || p.Duplicates != 0 {
			r.OK = false
		}
	}
	return r
}

func (s Sums) String() string {
	return fmt.Sprintf("%d orders = %d processed + %d dead-lettered + %d waiting + %d dropped; %d missing, %d duplicates",
		s.Orders, s.Processed, s.DeadLettered, s.Waiting, s.Dropped, s.Missing, s.Duplicates)
}
