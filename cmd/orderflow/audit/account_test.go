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
