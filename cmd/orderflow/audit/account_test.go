package audit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAccounts(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(*Account)
		want Sums
	}{
		{"each order has one outcome", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, DeadLettered)
			a.Outcome(12, Waiting)
		}, Sums{Orders: 3, Processed: 1, DeadLettered: 1, Waiting: 1}},
		{"one has none", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(12, Processed)
		}, Sums{Orders: 3, Processed: 2, Missing: 1}},
		{"one has two", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(11, DeadLettered)
			a.Outcome(12, Processed)
		}, Sums{Orders: 3, Processed: 3, DeadLettered: 1, Duplicates: 1}},
		{"one has an outcome and waits still", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(10, Waiting)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
		}, Sums{Orders: 3, Processed: 3, Waiting: 1, Duplicates: 1}},
		{"an outcome of no order", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Outcome(13, Processed)
		}, Sums{Orders: 3, Processed: 4, Duplicates: 1}},
		{"outcomes of orders before and behind what is audited do not count", func(a *Account) {
			a.Outcome(9, Processed)
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Outcome(14, Processed)
		}, Sums{Orders: 3, Processed: 3}},
		{"one was dropped", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Dropped = 1
		}, Sums{Orders: 3, Processed: 2, Dropped: 1}},
		{"more were dropped than are left, since retention has deleted some", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Dropped, a.Start = 5, 3
		}, Sums{Orders: 3, Processed: 2, Dropped: 1}},
		{"one was read again", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(11, DeadLettered)
			a.Outcome(12, Processed)
			a.Reread = 1
		}, Sums{Orders: 3, Processed: 3, DeadLettered: 1, Reread: 1}},
		{"one was read again, and another has an outcome too many", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Reread = 1
		}, Sums{Orders: 3, Processed: 5, Reread: 1, Duplicates: 1}},
		{"one was read again and has no second outcome", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Reread = 1
		}, Sums{Orders: 3, Processed: 3, Reread: 1, Missing: 1}},
		{"one was dropped, read again, and passed", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Dropped, a.Reread = 1, 1
		}, Sums{Orders: 3, Processed: 3, Dropped: 1, Reread: 1}},
		{"one was dropped twice", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Dropped, a.Reread = 2, 1
		}, Sums{Orders: 3, Processed: 2, Dropped: 2, Reread: 1}},
		{"one was skipped", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Skip(12, 20)
		}, Sums{Orders: 3, Processed: 2, Skipped: 1}},
		{"one was skipped and read after all", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Skip(0, 12)
		}, Sums{Orders: 3, Processed: 3}},
		{"an outcome of no record, where the topic is compacted", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, DeadLettered)
			a.Outcome(12, Processed)
			a.Outcome(13, Processed)
			a.Compacted = true
		}, Sums{Orders: 4, Processed: 3, DeadLettered: 1, Compacted: 1}},
		{"two outcomes of one that was compacted away", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Outcome(13, Processed)
			a.Outcome(13, DeadLettered)
			a.Compacted = true
		}, Sums{Orders: 4, Processed: 4, DeadLettered: 1, Compacted: 1, Duplicates: 1}},
		{"nothing was there that has no outcome", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Compacted = true
		}, Sums{Orders: 3, Processed: 2, Missing: 1}},
		{"an outcome of a marker is one of no order, compacted or not", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Outcome(13, Processed)
			a.Other(13)
			a.Compacted = true
		}, Sums{Orders: 3, Processed: 4, Duplicates: 1}},
		{"one was dropped, and then compacted away", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Dropped, a.Compacted = 1, true
		}, Sums{Orders: 3, Processed: 3}},
		{"one was dropped that cannot have been compacted away", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Other(13)
			a.Dropped, a.Compacted = 1, true
		}, Sums{Orders: 3, Processed: 3, Dropped: 1, Missing: -1}},
		{"more were dropped than are missing", func(a *Account) {
			a.Outcome(10, Processed)
			a.Outcome(11, Processed)
			a.Outcome(12, Processed)
			a.Dropped = 1
		}, Sums{Orders: 3, Processed: 3, Dropped: 1, Missing: -1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewAccount(10, 14)
			for offset := int64(10); offset < 13; offset++ { // 13 is a transaction marker
				a.Order(offset)
			}
			c.fill(a)
			require.Equal(t, c.want, a.Sums())
			report := Summarise([]PartitionSums{{Topic: "orders", Sums: a.Sums()}})
			require.Equal(t, c.want.Missing == 0 && c.want.Duplicates == 0, report.OK)
		})
	}
}

func TestSumsShowResetsOnlyWhereThereWereAny(t *testing.T) {
	gone := Sums{Orders: 3, Processed: 3, Compacted: 2}
	require.Equal(t, "3 orders (2 compacted away) = 3 processed + 0 dead-lettered + 0 waiting + 0 dropped; 0 missing, 0 duplicates", gone.String())
	s := Sums{Orders: 3, Processed: 2, DeadLettered: 1}
	require.Equal(t, "3 orders = 2 processed + 1 dead-lettered + 0 waiting + 0 dropped; 0 missing, 0 duplicates", s.String())
	s.Processed, s.Reread, s.Skipped = 3, 2, 1
	require.Equal(t, "3 orders + 2 read again = 3 processed + 1 dead-lettered + 0 waiting + 0 dropped + 1 skipped; 0 missing, 0 duplicates", s.String())
}
