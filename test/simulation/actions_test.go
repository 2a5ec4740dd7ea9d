//go:build synctests

package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
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

// freeze stops an instance as SIGSTOP does, but for its timers: nothing gets in or out, and its
// pipeline makes no progress if it has an output that can wait.
func (i *instance) freeze(d time.Duration) {
	i.net.stall(d)
	i.stick(d)
}

// replace freezes an instance and starts one of the same name, as a supervisor does that takes
// it for dead; it stops the first when that is back. There are never more than two of a name.
func (w *world) replace(i *instance, d time.Duration) {
	same := 0
	all := w.all()
	for _, other := range all {
		if other.slot == i.slot {
			same++
		}
	}
	if same > 1 || len(all) >= most {
		return
	}
	i.freeze(d)
	w.start(i.slot)
	w.mu.Lock()
	w.fenced = true
	w.mu.Unlock()
	w.ended.Go(func() {
		time.Sleep(d + time.Second)
		w.stop(i)
	})
}

// again sends a request once more after a while, over a connection of its own, as a network
// does that has held it up. Nobody waits for the answer.
func (w *world) again(c *conn, key kmsg.Key, request frame, d time.Duration) {
	request.bytes = slices.Clone(request.bytes)
	if key == kmsg.Produce {
		// kfake begins a transaction for one of an epoch that is over before it refuses it. The
		// end of that, by its timeout, fences the producer.
		w.mu.Lock()
		w.fenced = true
		w.mu.Unlock()
	}
	w.ended.Go(func() {
		time.Sleep(d)
		late, err := w.net.DialContext(context.Background(), "tcp", c.address)
		if err != nil {
			return
		}
		defer late.Close()
		_ = late.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := late.Write(request.bytes); err == nil {
			_, _ = late.Read(make([]byte, 4))
		}
	})
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

// busy tells whether an instance is not yet as it should be.
func (i *instance) busy() bool {
	i.mu.Lock()
	stuck := time.Now().Before(i.stuck)
	i.mu.Unlock()
	n := i.net
	n.mu.Lock()
	defer n.mu.Unlock()
	return stuck || n.cuts > 0 || n.delay > 0 || time.Now().Before(n.until)
}
