//go:build synctests

package simulation

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// expel removes the members of dead instances from the group once their session has ended. A
// broker does so by itself. kfake does too, but not always for members that died within a join:
// those can hold the group for as long as a rebalance may take.
//
// It also ends rebalances that last longer than any may. kfake counts the members that have
// joined, and one that is removed while it waits in a sync counts as one that had joined
// (removeMember in groups.go): from then on the count is short by one, so that a join waits for
// its deadline; and that starts anew with each member whose session ends while it waits. When
// nobody is left kfake begins to count anew.
func (w *world) expel() {
	w.mu.Lock()
	late := map[string]bool{}
	for id, at := range w.dead {
		late[id] = time.Now().After(at)
	}
	w.mu.Unlock()
	groups, err := w.admin.DescribeGroups(context.Background(), group)
	if err != nil {
		return // a fault; there is a next time
	}
	if groups[group].State != "PreparingRebalance" {
		w.rebalancing = time.Time{}
	} else if w.rebalancing.IsZero() {
		w.rebalancing = time.Now()
	}
	stalled := !w.rebalancing.IsZero() && time.Since(w.rebalancing) > 45*time.Second
	if stalled {
		w.rebalancing = time.Time{}
	}
	for _, m := range groups[group].Members {
		if !late[m.ClientID] && !stalled {
			continue
		}
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = group
		member := kmsg.NewLeaveGroupRequestMember()
		member.MemberID, member.InstanceID = m.MemberID, m.InstanceID
		req.Members = append(req.Members, member)
		_, _ = req.RequestWith(context.Background(), w.client)
	}
}
