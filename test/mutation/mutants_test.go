package mutation

// mutants are rules to break: where the code is, what stands there, what it becomes, and a test
// that fails then.
var mutants = map[string]mutant{
	// What a commit carries, and when it is refused.
	"commits offsets only where they moved": {
		"commit.go", "if sent[topicPartition{topic, partition}] || at.Offset < 0 {",
		"if true || at.Offset < 0 {",
		"TestAnInstanceThatStoodStillCommitsNothing",
	},
	"commits while orders are in flight": {
		"commit.go", `	if err := c.barrier(ctx, false); err != nil {
		return err
	}
	c.met.barrier`,
		"\tc.met.barrier",
		"TestACommitWaitsForWhatIsInFlight",
	},
	"takes a rejection for an answer": {
		"commit.go", `	if err != nil {
		c.doom(fmt.Errorf("the pipeline rejected a batch: %w", err))
		return
	}`,
		"",
		"TestARejectedBatchIsHandedOutAgain",
	},
	"lets an order wait before its batch is answered": {
		"order.go", `	o.wait, o.due = true, due
`,
		`	o.wait, o.due = true, due
	go func() {
		c := o.batch.client
		c.mu.Lock()
		defer c.mu.Unlock()
		o.part.hold(&waiting{rec: o.rec, hist: o.hist, due: due})
		c.signal()
	}()
`,
		"TestAnOrderIsNotHandedOutAgainBeforeItsBatchIsAnswered",
	},
	"commits for a partition that was unlisted": {
		"commit.go", "if !ok || p == nil || c.parts[tp] != p {",
		"if !ok && false || p == nil || c.parts[tp] != p {",
		"TestACommitIsRefusedWhoseOrdersAreOfAStateThatIsNoLongerOurs",
	},
	"commits for a partition that had no state": {
		"commit.go", "if !ok || p == nil || c.parts[tp] != p {",
		"if !ok || c.parts[tp] != p {",
		"TestACommitIsRefusedWhoseOrdersAreOfAStateThatIsNoLongerOurs",
	},
	"commits for a partition that was restored since": {
		"commit.go", "if !ok || p == nil || c.parts[tp] != p {",
		"if !ok || p == nil || c.parts[tp] == nil {",
		"TestACommitIsRefusedWhoseOrdersAreOfAStateThatIsNoLongerOurs",
	},
	"commits without a record that was not taken": {
		"commit.go", `c.doom(fmt.Errorf("producing to %s: %w", rec.Topic, err))`,
		"",
		"TestARecordThatIsNotTakenTakesItsTransactionAlong",
	},
	"writes aggregates outside the transaction": {
		"commit.go", `	for _, rec := range recs {
		c.produce(ctx, rec)
	}`,
		`	for _, rec := range recs {
		if rec.Key[0] == KindAggregate[0] {
			cl, _ := kgo.NewClient(append(c.conf.clientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
			cl.ProduceSync(ctx, rec)
			cl.Close()
			continue
		}
		c.produce(ctx, rec)
	}`,
		"TestATransactionThatIsNotCommittedLeavesNothingBehind",
	},
	"commits what a stopped pipeline has not answered": {
		"connect.go", "o.part.putBack(o, time.Now())",
		"",
		"TestABatchThatTheHostDropsAtAStopIsHandedOutAgain",
	},
	"commits where to begin only with the first order": {
		"client.go", "case t == nil && c.fresh:",
		"case false:",
		"TestWhereToBeginIsDecidedOnce",
	},
	// How it ended.
	"takes a commit that was refused for one": {
		"commit.go", "if !committed {",
		"if !committed && false {",
		"TestATransactionThatIsNotCommittedLeavesNothingBehind",
	},
	"believes that a commit without an answer was none": {
		"restore.go", "next != unknownOffset && next != starts[tp] {",
		"false && next != unknownOffset && next != starts[tp] {",
		"TestACommitThatIsTakenForAnAbortIsNoticed",
	},
	"keeps a client that does not know how a transaction ended": {
		"commit.go", `return fmt.Errorf("committing transaction: %w", err)`,
		"return nil",
		"TestATransactionThatIsNotCommittedLeavesNothingBehind",
	},
	"makes a new client for each abort": {
		"abort.go", `	return c.restoreOwned(ctx)
}

// settle`,
		`	return fmt.Errorf("again")
}

// settle`,
		"TestATransactionThatIsNotCommittedLeavesNothingBehind",
	},
	"keeps the state of an aborted transaction": {
		"abort.go", `	refused := c.txn.refused
	c.parts = map[topicPartition]*partition{}
`,
		`	refused := c.txn.refused
`,
		"TestATransactionThatIsNotCommittedLeavesNothingBehind",
	},
	// What is restored.
	"does not restore on assignment": {
		"restore.go", `	if err := c.restore(ctx, starts, fresh, logs); err != nil {
		return nil, err
	}`,
		`	c.mu.Lock()
	for tp := range starts {
		c.parts[tp] = newPartition(tp, Ledger{Group: c.conf.group}, c.conf.ordering)
	}
	c.mu.Unlock()`,
		"TestAStopKeepsWhatWaitsAndARestartGoesOn",
	},
	"takes a restore that failed for an empty state": {
		"restore.go", `if err := c.restore(ctx, starts, fresh, logs); err != nil {
		return nil, err
	}`,
		`if err := c.restore(ctx, starts, fresh, logs); err != nil {
		c.mu.Lock()
		for tp := range starts {
			c.parts[tp] = newPartition(tp, Ledger{Group: c.conf.group}, c.conf.ordering)
		}
		c.mu.Unlock()
	}`,
		"TestARestoreThatFailsIsDoneAgain",
	},
	"restores only to the last stable offset": {
		"restore.go", "committed.All(ctx, c.adm,",
		"committed.Stable(ctx, c.adm,",
		"TestARestoreWaitsForMarkersThatAreOnTheirWay",
	},
	"restores no waiting orders": {
		"partition.go", `		p.set(k.Offset, w)
		heap.Push(&p.due, w)
	case`,
		`		_ = w
	case`,
		"TestAStopKeepsWhatWaitsAndARestartGoesOn",
	},
	"restores no aggregates": {
		"partition.go", "p.acc[key] = &accumulator{raw: value}",
		"_ = key",
		"TestStateKeepsTheGuaranteesInAnyInterleaving",
	},
	"replaces what a rebalance has restored later": {
		"restore.go", "!still || c.parts[tp] != nil",
		"!still",
		"TestARestoreAfterAnAbortReplacesNothing",
	},
	"restores what was taken away meanwhile": {
		"restore.go", "!still || c.parts[tp] != nil",
		"false && still || c.parts[tp] != nil",
		"TestARestoreAfterAnAbortReplacesNothing",
	},
	"gives a new partition no offset of its own": {
		"restore.go", "fresh, err := c.absolute(ctx, offsets, logs)",
		"fresh, err := map[topicPartition]bool{}, error(nil)",
		"TestAnAbortBeforeTheFirstCommitGoesBackToTheStart",
	},
	"leaves open what a dead owner left": {
		"leftovers.go", `case t.State != "Ongoing":`,
		"case true:",
		"TestWhatADeadOwnerLeftOpenIsEnded",
	},
	"looks once only for what a dead owner left": {
		"leftovers.go", "		for len(former) > 0 {",
		"		for false {",
		"TestWhatADeadOwnerLeftOpenIsEnded",
	},
	// Rebalances.
	"blocks rebalances while it polls": {
		"connect.go", "kgo.MaxBufferedRecords(100_000),",
		`kgo.MaxBufferedRecords(100_000),
		kgo.BlockRebalanceOnPoll(),`,
		"TestAnInstanceWhoseSessionEndsInATransactionGoesOn",
	},
	"begins while the group rebalances": {
		"client.go", "!c.joining.IsZero() && now.Before(c.joining.Add(joinPatience)):",
		"!c.joining.IsZero() && false:",
		"TestNoTransactionBeginsWhileTheGroupRebalances",
	},
	"takes the first of two joins for the last": {
		"group.go", "c.skipAssign = rejoins",
		"c.skipAssign = false",
		"TestNoTransactionBeginsWhileTheGroupRebalances",
	},
	"aborts for a revocation that met no transaction": {
		"client.go", "case t == nil && c.revoked:",
		"case t == nil && c.revoked && false:",
		"TestARevocationBetweenTransactionsCostsNone",
	},
	"keeps the state of partitions that were taken away": {
		"group.go", "delete(c.parts, topicPartition{topic, partition})",
		"_ = topicPartition{topic, partition}",
		"TestWhatOthersTakeOverIsForgotten",
	},
	"hands out orders of partitions that are not owned": {
		"handout.go", `owned[p.topic][p.partition]; !listed {
			due`,
		`owned[p.topic][p.partition]; !listed && false {
			due`,
		"TestOrdersOfAPartitionThatIsNotOwnedStayWhereTheyAre",
	},
	"polls with the deadline of partitions that are not owned": {
		"handout.go", `	next = time.Time{}
	for _, p`,
		"\tfor _, p",
		"TestOrdersOfAPartitionThatIsNotOwnedStayWhereTheyAre",
	},
	// The state of a partition.
	"forgets tombstones": {
		"partition.go", `	if w.stored {
		p.written[offset] = struct{}{}
	} else {
		delete(p.written, offset)
	}`,
		"\tdelete(p.written, offset)",
		"TestStateKeepsTheGuaranteesInAnyInterleaving",
	},
	"does not write what waits": {
		"partition.go", `	p.set(offset, w)
	p.written[offset] = struct{}{}
	heap`,
		`	p.set(offset, w)
	heap`,
		"TestStateKeepsTheGuaranteesInAnyInterleaving",
	},
	"counts twice": {
		"commit.go", "a.value.Fold(con.value)",
		`a.value.Fold(con.value)
		a.value.Fold(con.value)`,
		"TestStateKeepsTheGuaranteesInAnyInterleaving",
	},
	"counts what waits": {
		"commit.go", `	if o.wait {
		p.hold(`,
		`	for _, con := range o.contributions {
		a, _ := p.accumulatorFor(con.name, con.group, con.fresh)
		a.value.Fold(con.value)
		a.dirty = true
	}
	if o.wait {
		p.hold(`,
		"TestStateKeepsTheGuaranteesInAnyInterleaving",
	},
	"leaves an order waiting that has its outcome": {
		"commit.go", `	p.end(o.rec.Offset)
`,
		"",
		"TestStateKeepsTheGuaranteesInAnyInterleaving",
	},
	"ignores max_waiting_bytes": {
		"handout.go", "if room <= 0 || c.takenBytes() >= c.conf.maxWaitingBytes {",
		"if room <= 0 {",
		"TestFetchingPausesWhenWhatWaitsTakesTooManyBytes",
	},
	"keeps large orders whole": {
		"large.go", "case w.whole >= largeOrder:",
		"case w.whole >= largeOrder<<10:",
		"TestLargeOrdersWaitByReferenceAndComeWhole",
	},
	"hands out large orders without reading them": {
		"large.go", "o.rec, o.absent, o.shared = rec, false, true",
		"o.absent, o.shared = false, true",
		"TestLargeOrdersWaitByReferenceAndComeWhole",
	},
	"loses count of a large order that is gone": {
		"large.go", "	p.ledger.Dropped++\n",
		"",
		"TestALargeOrderThatIsGoneIsCountedAsDropped",
	},
	"drops a batch that is too large": {
		"unread.go", "if p.admit(rec) {",
		"if p.admit(rec) && offset < 0 {",
		"TestOrdersOfABatchThatIsTooLargeAreDeadLettersAndThoseBehindItGoOn",
	},
	"stays before a batch that is too large": {
		"unread.go", "c.behind = append(c.behind, e)",
		"_ = e",
		"TestOrdersOfABatchThatIsTooLargeAreDeadLettersAndThoseBehindItGoOn",
	},
	"fills a slow pipeline": {
		"pace.go", "	return p.limit\n",
		"	return p.most\n",
		"TestASlowStepUnderABacklogCommitsSteadily",
	},
	"takes on as much again after a time-out": {
		"pace.go", "p.set(now, p.limit/8, 0)",
		"p.set(now, p.limit, 0)",
		"TestATimeOutShrinksTheBound",
	},
	"is ready though nothing is committed": {
		"input.go", "; stuck && c.busy() {",
		"; stuck && c == nil {",
		"TestAnInputThatCommitsNothingIsNotReady",
	},
	"ignores max_waiting": {
		"handout.go", "if room <= 0 || c.takenBytes() >= c.conf.maxWaitingBytes {",
		`room = c.conf.batchSize
	if c.takenBytes() >= c.conf.maxWaitingBytes {`,
		"TestFetchingPausesWhileAsManyWaitAsMay",
	},
	"lets orders of a key overtake": {
		"handout.go", "if !p.admit(rec) {",
		"if !p.admit(rec) && false {",
		"TestLaterOrdersOfAKeyWaitBehindOneThatWaits",
	},
	// What topics take.
	"produces what is too large": {
		"limits.go", "case size >= t.maxBytes:",
		"case size < 0:",
		"TestWhatATopicRefusesIsRoutedAloneAndWaitsForATopicThatTakesIt",
	},
	"takes a record for a byte less than it is": {
		"limits.go", "return 61 +",
		"return 60 +",
		"TestTheSizeOfARecordIsThatOfItsBatch",
	},
	"makes batches that are too large for the topic": {
		"connect.go", `		kgo.ProducerBatchMaxBytesFn(c.limits.maxBatchBytes),
`,
		"",
		"TestABatchIsNoLargerThanItsTopicTakes",
	},
	"produces to a compacted topic without a key": {
		"limits.go", "case t.compacted && rec.Key == nil:",
		"case false:",
		"TestWhatHasNoKeyIsRefusedAloneByACompactedTopic",
	},
	"produces to a topic that does not exist": {
		"limits.go", "case !t.exists:",
		"case false:",
		"TestWhatATopicRefusesIsRoutedAloneAndWaitsForATopicThatTakesIt",
	},
	"believes once that a topic is missing": {
		"limits.go", "limit.exists && !limit.doubted, true",
		"false, true",
		"TestATopicIsMissingWhenItWasMissingTwice",
	},
	"does not ask again what a topic takes": {
		"commit.go", "c.txn.refused = true",
		"",
		"TestALimitThatIsLoweredIsLearntFromTheFirstRefusal",
	},
}
