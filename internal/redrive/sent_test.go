package redrive_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/redrive"
)

func TestAnOrderWasRedrivenIfAMarkSaysSo(t *testing.T) {
	var sent redrive.Sent
	require.Zero(t, sent.Confirm("orders", "orders/0/9", "orders/0/1", 1), "of nothing")

	sent.Add(redrive.Mark{Action: redrive.Redriven, ID: "orders/0/1", Target: "orders", SentAs: "orders/0/9", Redrives: 2})
	sent.Add(redrive.Mark{Action: redrive.Parked, ID: "orders/0/2", Target: "orders-dlq-parking"})
	// Two marks of earlier versions, which do not say where the orders are.
	sent.Add(redrive.Mark{Action: redrive.Redriven, ID: "orders/0/3", Target: "orders"})
	sent.Add(redrive.Mark{Action: redrive.Redriven, ID: "orders/0/3", Target: "orders"})
	for name, c := range map[string]struct {
		topic, place, id string
		redrives, want   int
	}{
		"the order that was sent":                      {"orders", "orders/0/9", "orders/0/1", 2, 2},
		"as often as it was":                           {"orders", "orders/0/9", "orders/0/1", 7, 2},
		"not under another id":                         {"orders", "orders/0/9", "orders/0/8", 2, 0},
		"not one that claims nothing":                  {"orders", "orders/0/9", "orders/0/9", 0, 0},
		"no other of the same id":                      {"orders", "orders/0/10", "orders/0/1", 1, 0},
		"none of a letter that was parked":             {"orders-dlq-parking", "orders-dlq-parking/0/0", "orders/0/2", 1, 0},
		"one whose place no mark tells":                {"orders", "orders/0/10", "orders/0/3", 1, 1},
		"as often as there are marks":                  {"orders", "orders/0/10", "orders/0/3", 9, 2},
		"not one of another topic":                     {"orders-eu", "orders-eu/0/10", "orders/0/3", 1, 0},
		"not one that says that it was not redriven":   {"orders", "orders/0/10", "orders/0/3", 0, 0},
		"not one that does not say where it came from": {"", "", "orders/0/3", 1, 0},
	} {
		require.Equal(t, c.want, sent.Confirm(c.topic, c.place, c.id, c.redrives), name)
	}
}
