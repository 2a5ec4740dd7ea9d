package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/plugins/kafkatransactional"
)

// Topics names what an audit reads.
type Topics struct {
	Orders, Processed, DLQ, State, Group string
}

// headerOrigin is the header of a processed order that names the record it came from.
const headerOrigin = "origin"

// tries is how often an audit that does not add up is made again while the pipeline runs:
// what moves while it is read cannot add up.
const tries = 5

// Run reads the topics and matches orders with outcomes. Under load it reads again until what
// it has read belongs together. With a *kafkatransactional.UnreadableError the report lacks the
// partitions whose state cannot be read.
func Run(ctx context.Context, topics Topics, opts ...kgo.Opt) (Report, error) {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return Report{}, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var report Report
	for range tries {
		before, err := ends(ctx, adm, topics)
		if err != nil {
			return Report{}, err
		}
		if report, err = once(ctx, adm, topics, opts); err != nil || report.OK {
			return report, err
		}
		after, err := ends(ctx, adm, topics)
		if err != nil || maps.Equal(before, after) {
			return report, err
		}
	}
	return report, nil
}

// ends says how far the topics of the outcomes have grown.
func ends(ctx context.Context, adm *kadm.Client, topics Topics) (map[string]int64, error) {
	m := map[string]int64{}
	for _, topic := range []string{topics.Processed, topics.DLQ, topics.State} { // one by one: an error is about one
		listed, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return nil, fmt.Errorf("listing offsets of %s: %w", topic, err)
		}
		listed.Each(func(o kadm.ListedOffset) { m[o.Topic+"/"+strconv.Itoa(int(o.Partition))] = o.Offset })
	}
	return m, nil
}

// once reads in this order: the group's offsets, the state, the outcomes. So an outcome may be
// seen of an order that has one more outcome than it had when the offsets were read, but never
// the other way round.
func once(ctx context.Context, adm *kadm.Client, topics Topics, opts []kgo.Opt) (Report, error) {
	offsets, err := adm.FetchOffsetsForTopics(ctx, topics.Group, topics.Orders)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return Report{}, fmt.Errorf("topic %q does not exist", topics.Orders)
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // which has read nothing yet
		return Report{}, fmt.Errorf("fetching offsets of group %s in %s: %w", topics.Group, topics.Orders, err)
	}
	starts, err := adm.ListStartOffsets(ctx, topics.Orders)
	if err != nil {
		return Report{}, fmt.Errorf("listing offsets of %s: %w", topics.Orders, err)
	}
	accounts := map[int32]*Account{}
	var failed error
	starts.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			failed = fmt.Errorf("topic %s: %w", o.Topic, o.Err)
			return
		}
		to := o.Offset
		if at, ok := offsets.Lookup(topics.Orders, o.Partition); ok && at.At > to {
			to = at.At
		}
		accounts[o.Partition] = NewAccount(o.Offset, to)
	})
	if failed != nil {
		return Report{}, failed
	}
	if len(accounts) == 0 {
		return Report{}, fmt.Errorf("topic %q does not exist", topics.Orders)
	}

	waiting, ledgers, err := readState(ctx, topics, opts)
	unreadable, partly := errors.AsType[*kafkatransactional.UnreadableError](err)
	if err != nil && !partly {
		return Report{}, err
	}
	if partly {
		for _, u := range unreadable.Records {
			if topic, partition := u.Source(); topic == "" || topic == topics.Orders {
				delete(accounts, partition)
			}
		}
	}
	for partition, l := range ledgers {
		if a := accounts[partition]; a != nil {
			if l.Start > a.From {
				accounts[partition] = NewAccount(l.Start, a.To)
			}
			a = accounts[partition]
			a.Dropped, a.Reread, a.Start = l.Dropped, l.Reread, l.Start
			for _, s := range l.Skipped {
				a.Skip(s.From, s.To)
			}
		}
	}
	for k := range waiting {
		if a := accounts[k.Partition]; a != nil {
			a.Outcome(k.Offset, Waiting)
		}
	}

	if err := readTopic(ctx, adm, topics.Orders, opts, func(r *kgo.Record) {
		a := accounts[r.Partition]
		if a == nil {
			return
		}
		a.Order(r.Offset)
		next, _ := committed.Unreadable(r)
		for offset := r.Offset + 1; offset < next; offset++ {
			a.Order(offset)
		}
	}); err != nil {
		return Report{}, err
	}
	compacted, known := compacts(ctx, adm, topics.Orders)
	outcome := func(topic string, partition, offset int64, o Outcome) {
		if topic != topics.Orders || partition < 0 || partition > math.MaxInt32 {
			return
		}
		if a := accounts[int32(partition)]; a != nil {
			a.Outcome(offset, o)
		}
	}
	if err := readTopic(ctx, adm, topics.Processed, opts, func(r *kgo.Record) {
		origin, _ := lookUp(r, headerOrigin)
		parts := strings.Split(string(origin), "/")
		if len(parts) != 3 {
			return
		}
		partition, err := strconv.ParseInt(parts[1], 10, 32)
		offset, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err == nil && err2 == nil {
			outcome(parts[0], partition, offset, Processed)
		}
	}); err != nil {
		return Report{}, err
	}
	if err := readTopic(ctx, adm, topics.DLQ, opts, func(r *kgo.Record) {
		if l, ok := deadletter.Read(func(name string) ([]byte, bool) { return lookUp(r, name) }); ok {
			outcome(l.Topic, int64(l.Partition), l.Offset, DeadLettered)
		}
	}); err != nil {
		return Report{}, err
	}

	if compacted {
		if err := readOthers(ctx, adm, accounts, topics.Orders, opts); err != nil {
			return Report{}, err
		}
	}
	var partitions []PartitionSums
	var unclear int64
	for n, a := range accounts {
		a.Compacted = compacted
		partitions = append(partitions, PartitionSums{Topic: topics.Orders, Partition: n, Sums: a.Sums()})
		_, with := a.Holes()
		unclear += with
	}
	report := Summarise(partitions)
	if !known && unclear > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("The configuration of topic %s may not be read. So %d outcomes of offsets without a record count as duplicates; if the topic is compacted, they are of orders that were compacted away.", topics.Orders, unclear))
	}
	if partly {
		report.OK = false
		return report, unreadable
	}
	return report, nil
}

// compacts tells whether a topic is compacted, and whether that is known.
func compacts(ctx context.Context, adm *kadm.Client, topic string) (yes, known bool) {
	found, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return false, false
	}
	for _, rc := range found {
		for _, c := range rc.Configs {
			if rc.Err == nil && c.Key == "cleanup.policy" && c.Value != nil {
				return strings.Contains(*c.Value, "compact"), true
			}
		}
	}
	return false, false
}

// readOthers notes what is at the offsets that hold no order.
func readOthers(ctx context.Context, adm *kadm.Client, accounts map[int32]*Account, topic string, opts []kgo.Opt) error {
	ranges, err := committed.Stable(ctx, adm, topic)
	if err != nil {
		return err
	}
	for partition, at := range ranges {
		a := accounts[partition]
		if a == nil {
			delete(ranges, partition)
			continue
		}
		if holes, _ := a.Holes(); holes == 0 {
			delete(ranges, partition)
			continue
		}
		// The group's offset may be past the end.
		ranges[partition] = committed.Range{From: max(at.From, a.From), To: min(at.To, a.To)}
	}
	return committed.Offsets(ctx, opts, topic, ranges, func(partition int32, offset int64) { accounts[partition].Other(offset) })
}

func readState(ctx context.Context, topics Topics, opts []kgo.Opt) (map[kafkatransactional.StateKey]bool, map[int32]kafkatransactional.Ledger, error) {
	waiting := map[kafkatransactional.StateKey]bool{}
	ledgers := map[int32]kafkatransactional.Ledger{}
	err := kafkatransactional.ReadState(ctx, opts, topics.State, func(k kafkatransactional.StateKey, value []byte) error {
		if k.Topic != topics.Orders {
			return nil
		}
		switch {
		case k.Kind == kafkatransactional.KindWaiting && value == nil:
			delete(waiting, k)
		case k.Kind == kafkatransactional.KindWaiting:
			waiting[k] = true
		case k.Kind == kafkatransactional.KindLedger && value != nil:
			delete(ledgers, k.Partition)
			l, err := kafkatransactional.DecodeLedger(value)
			if err != nil {
				return err
			}
			ledgers[k.Partition] = l
		}
		return nil
	})
	for _, partition := range slices.Sorted(maps.Keys(ledgers)) {
		if l := ledgers[partition]; l.Group != topics.Group {
			return nil, nil, fmt.Errorf("state topic %q belongs to consumer group %q, not to %q", topics.State, l.Group, topics.Group)
		}
	}
	return waiting, ledgers, err
}

// lookUp returns the last value of a header.
func lookUp(r *kgo.Record, name string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// readTopic calls fn for each record that a reader of committed records sees now.
func readTopic(ctx context.Context, adm *kadm.Client, topic string, opts []kgo.Opt, fn func(*kgo.Record)) error {
	ranges, err := committed.Stable(ctx, adm, topic)
	if err != nil {
		return err
	}
	_, err = committed.Read(ctx, opts, topic, ranges, func(r *kgo.Record) error {
		fn(r)
		return nil
	})
	return err
}
