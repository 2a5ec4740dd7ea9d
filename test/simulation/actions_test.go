//go:build synctests

package simulation

import (
	"slices"
	"time"
)

// most bounds how many instances run at once.
const most = 4

// join starts an instance, with the lowest slot that is free.
func (w *world) join() {
	all := w.all()
	if len(all) >= most {
		return
	}
	slot := 0
	for slices.ContainsFunc(all, func(i *instance) bool { return i.slot == slot }) {
		slot++
	}
	w.start(slot)
}

func (w *world) all() []*instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.live)
}

func (i *instance) cutFor(d time.Duration) {
	i.net.cut()
	time.AfterFunc(d, i.net.heal)
}

func (w *world) slow(lag, d time.Duration) {
	for _, i := range w.all() {
		i.net.slow(lag)
		time.AfterFunc(d, func() { i.net.slow(0) })
	}
}

func (w *world) setNacks(rate float64) {
	w.mu.Lock()
	w.nacks = rate
	w.mu.Unlock()
}

// busy tells whether the network is not yet as it should be.
func (n *network) busy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts > 0 || n.delay > 0 || time.Now().Before(n.until)
}
