package redrive_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/redrive"
)

func TestAnOrderWasRedrivenIfAMarkSaysSo(t *testing.T) {
	var sent redrive.Sent
	_, _, ok := sent.Confirm("orders", "orders/0/9", "orders/0/1", 1)
	require.False(t, ok, "of nothing")

	sent.Add(redrive.Mark{Action: redrive.Redriven, ID: "orders/0/1", Target: "orders", SentAs: "orders/0/9", Redrives: 2})
	sent.Add(redrive.Mark{Action: redrive.Parked, ID: "orders/0/2", Target: "orders-dlq-parking"})
	// Two marks of earlier versions, which do not say where the orders are.
	sent.Add(redrive.Mark{Action: redrive.Redriven, ID: "orders/0/3", Target: "orders"})
	sent.Add(redrive.Mark{Action: redrive.Redriven, ID: "orders/0/3", Target: "orders"})
	type answer struct {
		id       string
		redrives int
		ok       bool
	}
	for name, c := range map[string]struct {
		topic, place, id string
		redrives         int
		want             answer
	}{
		"the order that was sent":                      {"orders", "orders/0/9", "orders/0/1", 2, answer{"orders/0/1", 2, true}},
		"whatever it says of itself":                   {"orders", "orders/0/9", "orders/0/8", 7, answer{"orders/0/1", 2, true}},
		"no other of the same id":                      {"orders", "orders/0/10", "orders/0/1", 1, answer{}},
		"none of a letter that was parked":             {"orders-dlq-parking", "orders-dlq-parking/0/0", "orders/0/2", 1, answer{}},
		"one whose place no mark tells":                {"orders", "orders/0/10", "orders/0/3", 1, answer{"orders/0/3", 1, true}},
		"as often as there are marks":                  {"orders", "orders/0/10", "orders/0/3", 9, answer{"orders/0/3", 2, true}},
		"not one of another topic":                     {"orders-eu", "orders-eu/0/10", "orders/0/3", 1, answer{}},
		"not one that says that it was not redriven":   {"orders", "orders/0/10", "orders/0/3", 0, answer{}},
		"not one that does not say where it came from": {"", "", "orders/0/3", 1, answer{}},
	} {
		id, n, ok := sent.Confirm(c.topic, c.place, c.id, c.redrives)
		require.Equal(t, c.want, answer{id, n, ok}, name)
	}
}
