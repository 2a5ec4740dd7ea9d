//go:build synctests

package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/orderflow/orderflow/cmd/orderflow/aggregates"
	"github.com/orderflow/orderflow/cmd/orderflow/audit"
	"github.com/orderflow/orderflow/test/oracle"
)

const (
	// recovery bounds the time from the end of the last fault to the last outcome.
	recovery = 3 * time.Minute
	// prompt bounds the time in which an order that does not fail gets its outcome when all is
	// well: a commit interval, a poll and a commit.
	prompt = 2 * time.Second
)

// run plays the plan and judges what came of it.
func (w *world) run() error {
	for range w.plan.instances {
		w.join()
	}
	began := time.Now()
	stopExpelling := make(chan struct{})
	expelled := make(chan struct{})
	go func() {
		defer close(expelled)
		for {
			select {
			case <-stopExpelling:
				return
			case <-time.After(2 * time.Second):
				w.expel()
			}
		}
	}()
	defer func() {
		for i := w.pick(0); i != nil; i = w.pick(0) {
			w.stop(i)
		}
		w.ended.Wait()
		close(stopExpelling)
		<-expelled
	}()
	for _, e := range w.plan.events {
		time.Sleep(time.Until(began.Add(e.at)))
		fmt.Fprintf(w.plan.log, "=== %s\n", e.what)
		e.do(w)
	}
	w.calm(began.Add(faulty + frozen))

	judge := oracle.New(oracle.Config{}, w.opts()...)
	if err := w.recovers(judge); err != nil {
		return err
	}
	if err := w.prompt(judge); err != nil {
		return err
	}
	return w.adds(judge)
}

// calm ends all faults, at the latest at the given time.
func (w *world) calm(end time.Time) {
	w.setNacks(0)
	for _, i := range w.all() {
		i.net.disarm()
	}
	w.ended.Wait() // joins that crashes have ordered, faults that end by themselves
	for _, i := range w.all() {
		i.net.disarm()
		if i.busy() {
			time.Sleep(time.Until(end))
			break
		}
	}
	if w.pick(0) == nil {
		w.join()
	}
	fmt.Fprintln(w.plan.log, "=== calm")
}

// recovers waits until each order has its outcome, and the group is whole again.
func (w *world) recovers(judge *oracle.Oracle) error {
	end := time.Now().Add(recovery)
	time.Sleep(12 * time.Second)
	for {
		report, err := judge.Read(context.Background())
		if err != nil {
			return err
		}
		whole := w.whole()
		if report.Missing == 0 && report.Orders == w.produced && whole == nil {
			if !w.fenced {
				return nil
			}
			// Who was fenced hears of it with its next transaction.
			w.fenced = false
			w.produce(30)
		}
		if time.Now().After(end) {
			if report.Missing > 0 {
				return fmt.Errorf("%v after the last fault: %v; %v; %v", recovery, report, whole, report.Examples)
			}
			return fmt.Errorf("%v after the last fault: %w", recovery, whole)
		}
		time.Sleep(5 * time.Second)
	}
}

// whole is nil when the group is stable and consists of those that live.
func (w *world) whole() error {
	groups, err := w.admin.DescribeGroups(context.Background(), group)
	if err != nil {
		return err
	}
	g := groups[group]
	var members, live []string
	for _, m := range g.Members {
		members = append(members, m.ClientID)
	}
	for _, i := range w.all() {
		live = append(live, i.id)
	}
	slices.Sort(members)
	slices.Sort(live)
	if g.State != "Stable" || !slices.Equal(members, live) {
		return fmt.Errorf("the group is %s with %v, but %v run", g.State, members, live)
	}
	return nil
}

// prompt asserts G5: with all well, orders that fail delay no other ones, but for those of their
// key where these have to keep their order. Those that wait are counted as such (G3).
func (w *world) prompt(judge *oracle.Oracle) error {
	produced := w.produced
	fmt.Fprintln(w.plan.log, "=== 40 more orders")
	slow := w.produce(40)
	time.Sleep(prompt)
	report, err := judge.Read(context.Background())
	if err != nil {
		return err
	}
	if late := report.Missing; late > slow {
		return fmt.Errorf("%v after 40 more orders %d of them have no outcome, of which %d had to wait: %v", prompt, late, slow, report.Examples)
	}
	if report.Orders != produced+40 {
		return fmt.Errorf("%d orders, not %d", report.Orders, produced+40)
	}
	if err := w.audit(slow); err != nil {
		return err
	}
	time.Sleep(8 * time.Second)
	if !w.plan.ordered {
		return nil
	}
	return w.recovers(judge) // several of a key wait for each other
}

// audit asserts G3: what was read is what is processed, dead-lettered and waiting.
func (w *world) audit(waiting int) error {
	audited, err := audit.Run(context.Background(), audit.Topics{Orders: topicOrders, Processed: topicProcessed, DLQ: topicDLQ, State: topicState, Group: group}, w.opts()...)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if !audited.OK || int(audited.Waiting) > waiting || audited.Dropped != 0 || int(audited.Orders) != w.produced {
		return fmt.Errorf("audit of %d orders, of which at most %d wait: %v", w.produced, waiting, audited.Sums)
	}
	return nil
}

// adds asserts the rest: G1 to G4, and G6.
func (w *world) adds(judge *oracle.Oracle) error {
	report, err := judge.Read(context.Background())
	if err != nil {
		return err
	}
	errs := []error{report.ExactlyOnce()}
	classes := map[string]int{}
	if w.failing > 0 {
		classes["transient"] = w.failing
	}
	if w.broken > 0 {
		classes["permanent"] = w.broken
	}
	if fmt.Sprint(report.Classes) != fmt.Sprint(classes) {
		errs = append(errs, fmt.Errorf("dead letters are %v %v, not %v", report.Classes, report.Codes, classes))
	}
	groups, err := aggregates.Read(context.Background(), topicState, "", w.opts()...)
	if err == nil {
		var b bytes.Buffer
		if err = aggregates.Print(&b, groups, true); err == nil {
			err = report.Aggregates.CompareJSON(b.Bytes())
		}
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("aggregates: %w", err))
	}
	want, got := big.NewRat(w.cents, 100), new(big.Rat)
	if _, ok := got.SetString(report.Aggregates.Overall.Sum); !ok || got.Cmp(want) != 0 {
		errs = append(errs, fmt.Errorf("the processed orders add up to %s, not %s", report.Aggregates.Overall.Sum, want.FloatString(2)))
	}
	return errors.Join(append(errs, w.audit(0), w.history())...)
}
