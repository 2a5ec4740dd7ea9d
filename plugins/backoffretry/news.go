package backoffretry

import (
	"sync"

	"github.com/orderflow/orderflow/internal/session"
)

// mostRemembered is how many orders each of the two generations holds: more than are in a
// transaction that fails, at about 100 bytes each.
const mostRemembered = 4096

// news tells orders that failed for the first time from those that were handed out again because
// their transaction was aborted, and that have no history for that reason. It remembers the last
// ones, between one and two generations of them.
type news struct {
	mu          sync.Mutex
	young, aged map[session.Place]struct{}
}

// is remembers an order, and tells whether it was not known.
func (n *news) is(p session.Place) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, young := n.young[p]
	_, aged := n.aged[p]
	if young || aged {
		return false
	}
	if len(n.young) >= mostRemembered {
		n.young, n.aged = nil, n.young
	}
	if n.young == nil {
		n.young = map[session.Place]struct{}{}
	}
	n.young[p] = struct{}{}
	return true
}

// forget makes all orders news.
func (n *news) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.young, n.aged = nil, nil
}
