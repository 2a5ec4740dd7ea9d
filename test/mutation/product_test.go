package mutation

// product are rules to break outside of the transaction: the file, what stands there, what it
// becomes, and a test of its package that fails then.
var product = map[string]mutant{
	// Retries.
	"waits 1 s instead of 2": {
		"internal/backoff/backoff.go", "d := s.delays[retry-1]",
		"d := s.delays[max(retry-2, 0)]",
		"TestDefaultIsExactlyOneTwoFourSeconds",
	},
	"ignores the longest delay": {
		"internal/backoff/backoff.go", "d = min(d, e.Max)",
		"_ = e.Max",
		"TestExponential",
	},
	"retries a permanent error": {
		"plugins/backoffretry/policy.go", "class == failure.Permanent {",
		"class == \"\" {",
		"TestPolicy",
	},
	"retries once more": {
		"plugins/backoffretry/policy.go", "p.schedule.Delay(attempt, p.random)",
		"p.schedule.Delay(max(attempt-1, 1), p.random)",
		"TestPolicy",
	},
	"forgets the attempts before a restart": {
		"plugins/backoffretry/processor.go", "failedAt = slices.Clone(h.Attempts)",
		"_ = slices.Clone(h.Attempts)",
		"TestAnOrderOfASessionWaitsThere",
	},
	"waits in place in spite of a session": {
		"plugins/backoffretry/processor.go", "	if order != nil {\n		order.Wait(due)",
		"	if order != nil && due.IsZero() {\n		order.Wait(due)",
		"TestAnOrderOfASessionWaitsThere",
	},
	"begins an attempt with what the last one left": {
		"plugins/backoffretry/processor.go", "trial := msg.Copy()",
		"trial := msg",
		"TestAFailingMessageIsTriedFourTimesOneTwoAndFourSecondsApart",
	},
	"drops an order whose wait was cut short": {
		"plugins/backoffretry/processor.go", "return false, sleep(ctx, due)",
		"return sleep(ctx, due) != nil, nil",
		"TestTheWaitEndsAtOnceWhenTheContextEnds",
	},
	"goes on after a child has failed": {
		"internal/children/children.go", "if err := m.GetError(); err != nil {\n				return nil, &Failure",
		"if err := m.GetError(); err != nil && i > 0 {\n				return nil, &Failure",
		"TestRun",
	},
	// The breaker.
	"sees no outage in a row of orders that come slowly": {
		"internal/breaker/breaker.go", "many := first && b.row.orders >= int64(b.conf.Min)",
		"many := first && b.row.orders < 0",
		"TestARowOpensItHoweverSlowlyOrdersCome",
	},
	"sees no outage in a service that hangs": {
		"internal/breaker/breaker.go", "return b.row.orders >= min(fewest, int64(b.conf.Min)) && b.row.busy(now)",
		"return b.row.orders >= int64(b.conf.Min) && b.row.busy(now)",
		"TestAServiceThatHangsOpensIt",
	},
	"takes one order that hangs for an outage": {
		"internal/breaker/breaker.go", "const fewest = 2",
		"const fewest = 1",
		"TestWhatDoesNotOpenIt",
	},
	"gives orders up while it is not clear whether a service hangs": {
		"internal/breaker/breaker.go", "if due := b.due(); b.hangs(now) && due.After(until) {",
		"if due := b.due(); due.Before(until) {",
		"TestInAHangThereIsProbation",
	},
	"overlooks that retries pass": {
		"internal/breaker/breaker.go", "if b.answered.Swap(false) || passed > 0 {",
		"if passed > 0 {",
		"TestWhatDoesNotOpenIt",
	},
	"takes the time before others passed for a part of the row": {
		"internal/breaker/row.go", "r.spent += min(took, now.Sub(r.begin))",
		"r.spent += took",
		"TestARowIsWhatTheCommentSays",
	},
	"counts an order once more that was spared": {
		"plugins/backoffretry/processor.go", "back = fate == heldHere",
		"back = true",
		"TestAnOrderThatIsSparedCountsOnce",
	},
	"takes an order for news each time that its transaction is aborted": {
		"plugins/backoffretry/outage.go", "t.first = o.news.is(place)",
		"o.news.is(place)",
		"TestAnOrderWhoseTransactionIsAbortedCountsOnce",
	},
	"counts an attempt that nobody could judge": {
		"plugins/backoffretry/processor.go", "if failure.Unavailable(cause) {",
		"if failure.Unavailable(nil) {",
		"TestWhatIsNotAnsweredUsesUpNoRetry",
	},
	"lets children work on what failed before them": {
		"plugins/backoffretry/processor.go", "failed := before\n",
		"failed := (*children.Failure)(nil)\n",
		"TestAFailureThatAnOrderComesWithIsAnAttempt",
	},

	// Dead letters.
	"a dead letter carries the changed bytes": {
		"plugins/deadletter/processor.go", "	if b, ok := p.originalOf(msg); ok {\n		msg.SetBytes(b)\n	}\n	msg.SetError(nil)",
		"	msg.SetError(nil)",
		"TestAFailedMessageBecomesADeadLetterOfTheContract",
	},
	"a dead letter of a session carries the changed bytes": {
		"plugins/deadletter/processor.go", "return order.Content(), true",
		"return order.Content(), false",
		"TestAnOrderOfASessionGetsItsOwnContentBack",
	},
	"dead-letters what nobody could judge": {
		"plugins/deadletter/processor.go", "ok && failure.Unavailable(err) {",
		"ok && failure.Unavailable(nil) {",
		"TestAnOrderThatNobodyCouldJudgeIsPutBack",
	},
	"dead-letters what was cut short": {
		"plugins/deadletter/processor.go", "if interrupted(err) && !p.all {",
		"if interrupted(err) && p.all {",
		"TestInterruptedMessagesStayAsTheyAre",
	},
	"keeps the headers of an earlier failure": {
		"plugins/deadletter/processor.go", "if deadletter.IsOurs(name) {",
		"if deadletter.IsOurs(name) && name == \"\" {",
		"TestForgedMetadataDoesNotCount",
	},
	"believes a mark that a producer wrote": {
		"plugins/deadletter/processor.go", "if mark, _ := msg.MetaGetImmut(deadletter.MetaMark); mark == true {",
		"if mark, ok := msg.MetaGetImmut(deadletter.MetaMark); ok && mark != nil {",
		"TestForgedMetadataDoesNotCount",
	},
	"believes an id without a count": {
		"internal/deadletter/deadletter.go", "n >= 1 && n <= maxSmall",
		"n >= 0 && n <= maxSmall",
		"TestIdentity",
	},
	"forgets the last attempts' times": {
		"internal/deadletter/deadletter.go", "i >= MaxTimes/2 && i < len(times)-MaxTimes/2",
		"i >= MaxTimes",
		"TestManyAttemptTimesKeepTheFirstAndTheLast",
	},
	"adds up a dead letter twice": {
		"internal/triage/groups.go", "gs.value.Add(e.Value)",
		"gs.value.Add(e.Value)\n\t\tgs.value.Add(e.Value)",
		"TestTenThousandFailuresAreThreeGroups",
	},
	"takes a tombstone for a mark": {
		"internal/redrive/record.go", "if !ok || value == nil {",
		"if !ok {",
		"TestWhatIsNoMark",
	},
	"reads marks of a topic that was deleted for those of its successor": {
		"internal/letters/letters.go", "if ok && m.Concerns(id) {",
		"if ok {",
		"TestMarksOfAFormerTopicCountNoMore",
	},
	"redrives by the marks of a topic that was deleted": {
		"plugins/dlqredrive/client.go", "letters.Marks(ctx, conf.opts, conf.topic, c.id,",
		"letters.Marks(ctx, conf.opts, conf.topic, \"\",",
		"TestMarksOfAFormerTopicCountNoMore",
	},
	"sends orders to where a letter says": {
		"plugins/dlqredrive/plan.go", "!slices.Contains(p.targets, letter.Topic):",
		"!slices.Contains(append(p.targets, letter.Topic), letter.Topic):",
		"TestALetterCannotChooseItsTopic",
	},
	"believes an order that it was redriven": {
		"internal/letters/letters.go", "		l.ID, l.Redrives = origin, 0",
		"		l.ID = cmp.Or(l.ID, origin)",
		"TestWhatALetterClaimsIsCheckedAgainstTheMarks",
	},
	"takes a mark that names an order for one of any other": {
		"internal/redrive/sent.go", "	case m.SentAs != \"\":",
		"	case m.SentAs == \"none\":",
		"TestAnOrderWasRedrivenIfAMarkSaysSo",
	},

	// State that cannot be read.
	"reads on without state that it cannot read": {
		"plugins/kafkatransactional/unreadable.go", "for tp := range parts {",
		"for tp := range map[topicPartition]*partition{} {",
		"TestAPartitionWhoseStateCannotBeReadWaitsAndTheOthersGoOn",
	},
	"does not replace what it skips": {
		"plugins/kafkatransactional/unreadable.go", "p.replace(u.key, u.raw)",
		"_ = p",
		"TestAPartitionWhoseStateCannotBeReadWaitsAndTheOthersGoOn",
	},
	"stops for what is no state of any version": {
		"plugins/kafkatransactional/unreadable.go", "u.foreign = !isStateKey(rec.Key, rec.Partition)",
		"u.foreign = false",
		"TestWhatNoVersionHasWrittenToTheStateTopicIsIgnored",
	},
	"reads on behind a batch of state that is too large": {
		"plugins/kafkatransactional/unreadable.go", "all = append(all, u)\n			return nil",
		"return nil",
		"TestABatchOfStateThatIsTooLargeStopsItsPartitionOnly",
	},
	"takes letters for open whose marks are in a batch that is too large": {
		"internal/letters/letters.go", "committed.Unreadable(r); err != nil {",
		"committed.Unreadable(r); err != nil && r.Value != nil {",
		"TestABatchOfMarksThatIsTooLargeIsAnError",
	},

	// Avro.
	"ignores left-over bytes": {
		"internal/order/decoder.go", "if len(b) > 0 {",
		"if len(b) > len(data) {",
		"TestRecordsThatAreNoOrders",
	},
	"believes a length": {
		"internal/order/layout.go", "	if n > int64(len(b)) {\n		return nil, fmt.Errorf(\"record ends after %d of %d bytes\", len(b), n)\n	}\n	return b[n:], nil",
		"	return b[min(n, int64(len(b))):], nil",
		"TestRecordsThatAreNoOrders",
	},
	"believes a count of items": {
		"internal/order/layout.go", "if n < 0 || n > int64(len(b)) {",
		"if n < 0 {",
		"TestRecordsThatAreNoOrders",
	},
	"reads a null as a value": {
		"internal/order/decoder.go", "return nil, permanent(want.missing, \"is null\")",
		"return b, nil",
		"TestFieldsThatAreNull",
	},
	"reads what a header tells of by the built-in schema": {
		"internal/order/value.go", "case header != nil:",
		"case header != nil && d.Registry != nil:",
		"TestASchemaInAHeader",
	},
	"goes as deep as a record says": {
		"internal/order/layout.go", "if nested > maxNested {",
		"if nested > 100*maxNested {",
		"TestAListOfFiveThousandIsReadAndNoLongerOne",
	},
	"takes a plain record for a frame": {
		"internal/order/framing.go", "id <= math.MaxInt32",
		"id <= math.MaxUint32",
		"TestFrames",
	},
	"reads a record by its writer's schema alone": {
		"internal/order/registry/registry.go", "order.NewDecoder(c.reader, schema)",
		"order.NewDecoder(schema, schema)",
		"TestSchemasThatCannotBeUsed",
	},
	"takes an outage for an answer": {
		"internal/order/registry/question.go", "if probe || c.control(ctx) != nil {",
		"if probe {",
		"TestAnOutageIsWaitedOut",
	},
	"takes a reference that nothing needs for one that is needed": {
		"internal/order/registry/registry.go", "if err != nil && found.missing != nil {",
		"if found.missing != nil {",
		"TestAReferenceThatNothingNeedsIsNotMissed",
	},
	"takes a frame for a plain record while the registry is away": {
		"internal/order/value.go", "[*failure.Error](err); answered && !failure.Unavailable(err) {",
		"[*failure.Error](err); answered || err != nil {",
		"TestAFrameIsNotTakenForAPlainRecordWhileTheRegistryIsAway",
	},
	"forgets the bytes as they came": {
		"plugins/orderdecode/orderdecode.go", "msg.MetaSetMut(metaOriginal, value)",
		"_ = value",
		"TestPlainOrders",
	},
	"encodes an old schema id": {
		"plugins/orderencode/orderencode.go", "order.AppendFrame(value, id)",
		"order.AppendFrame(value, max(id, 2)-1)",
		"TestFramedOrdersAgainstAFakeRegistry",
	},

	// Rules and simulated failures.
	"takes a price of 0": {
		"internal/order/order.go", "case o.Price <= 0:",
		"case o.Price < 0:",
		"TestRules",
	},
	"fails at each attempt": {
		"plugins/ordervalidate/verdict.go", "j.simulator.Fails(o.ID, attempt())",
		"j.simulator.Fails(o.ID, min(attempt(), 1))",
		"TestSimulatedFailure",
	},
	"fails for good": {
		"plugins/ordervalidate/verdict.go", "failure.NewTransient(",
		"failure.NewPermanent(",
		"TestSimulatedFailure",
	},
	"strikes the same orders with each seed": {
		"internal/order/simulator.go", "for s, i := uint64(seed), 0;",
		"for s, i := uint64(seed*0), 0;",
		"TestAnotherSeedStrikesOtherOrders",
	},

	// Aggregates.
	"applies twice": {
		"plugins/runningaggregate/runningaggregate.go", "	count, average := p.owner.Apply(group, value)",
		"	p.owner.Apply(group, value)\n	count, average := p.owner.Apply(group, value)",
		"TestLogAtMostOncePerIntervalAndNeverStale",
	},
	"counts what has failed": {
		"plugins/runningaggregate/runningaggregate.go", "		if msg.GetError() != nil {\n			continue\n		}",
		"",
		"TestOneBadMessageLeavesTheOthersAlone",
	},
	"shows what was aborted": {
		"plugins/runningaggregate/session.go", "if s.source == source && s.epoch == epoch {",
		"if s.source == source {",
		"TestTheViewBeginsAnewWithTheSessionsState",
	},
	"keeps money in floats": {
		"internal/aggregate/decimal.go", "return Decimal{micros: int64(m)}, nil",
		"return Decimal{micros: int64(f * million)}, nil",
		"TestFromFloatIsTheShortestDecimal",
	},
	"adds in floats beyond the fast path": {
		"internal/aggregate/partial.go", "exactly(apd.BaseContext.Add(sum, p.rest, d.wide))",
		"a, _ := p.rest.Float64()\n		b, _ := d.wide.Float64()\n		_, err := sum.SetFloat64(a + b)\n		exactly(0, err)",
		"TestGroupsMergeIsAddInAnyPartition",
	},
	"merges the greater minimum": {
		"internal/aggregate/partial.go", "other.min.Cmp(p.min) < 0",
		"other.min.Cmp(p.min) > 0",
		"TestGroupsMergeIsAddInAnyPartition",
	},
	"rounds half up": {
		"internal/aggregate/partial.go", "return beyondHalf > 0 || beyondHalf == 0 && odd",
		"return beyondHalf >= 0",
		"TestPartialAsJSON",
	},
	"believes figures that no numbers have": {
		"internal/aggregate/partial.go", "if !p.possible() {",
		"if p.count < 0 {",
		"TestRecords",
	},
	"makes groups without a bound": {
		"internal/aggregate/groups.go", "return g.most > 0 && n >= g.most",
		"return g.most > 0 && n > g.most",
		"TestWhichGroupANumberIsCountedIn",
	},

	// What is read back from the broker.
	"reads what was aborted": {
		"internal/committed/reader.go", "kgo.ReadCommitted()",
		"kgo.ReadUncommitted()",
		"TestReadsWhatIsCommittedAndNothingElse",
	},
	"restores from the wrong offset": {
		"internal/committed/reader.go", "At(at.From)",
		"At(at.From + 1)",
		"TestReadsWhatIsCommittedAndNothingElse",
	},
	"restores beyond the end": {
		"internal/committed/reader.go", "(r.all || !rec.Attrs.IsControl()) && rec.Offset < at.To",
		"r.all || !rec.Attrs.IsControl()",
		"TestAnEndThatIsNotThereIsNotPassed",
	},
	"overlooks duplicates": {
		"cmd/orderflow/audit/account.go", "s.Duplicates += seen - 1",
		"s.Duplicates += 0",
		"TestAccounts",
	},
	"audits from the topic's first order": {
		"cmd/orderflow/audit/read.go", "if l.Start > a.From {",
		"if l.Start < a.From {",
		"TestAnAuditBeginsWhereTheGroupHasBegun",
	},
	"audits a tombstone as an order that waits": {
		"cmd/orderflow/audit/read.go", "delete(waiting, k)",
		"waiting[k] = true",
		"TestAnAuditMatchesWhatIsCommitted",
	},
	"audits outcomes of other topics": {
		"cmd/orderflow/audit/read.go", "if topic != topics.Orders || partition < 0",
		"if topic == \"\" || partition < 0",
		"TestWhatIsNotOfTheseOrdersIsLeftOut",
	},

	// The rest.
	"swallows a produce error": {
		"plugins/deliveryreport/deliveryreport.go", "	o.logProgress()\n	return err",
		"	o.logProgress()\n	return nil",
		"TestFailuresInTheSummary",
	},
	"overlooks a config that differs": {
		"cmd/orderflow/topics/create.go", "if known && !sameValue(",
		"if !known && !sameValue(",
		"TestDifferences",
	},
	"takes a topic that exists for a new one": {
		"cmd/orderflow/topics/create.go", "		return false, nil",
		"		return true, nil",
		"TestCreateTwice",
	},
	"lets a frame of any size through": {
		"internal/devbroker/limits.go", "size < frameHeader-4 || size > most",
		"size < frameHeader-4",
		"TestCheckHead",
	},
	"keeps half a line of the journal": {
		"internal/devbroker/journal.go", "j.file.Truncate(j.size)",
		"j.file.Truncate(j.size + j.torn)",
		"TestJournalEndsInTheMiddleOfALine",
	},
	"makes other orders of the same seed": {
		"plugins/fakeorder/generator.go", "rand.NewPCG(seed, 0)",
		"rand.NewPCG(seed, rand.Uint64())",
		"TestTheFirstOrdersOfSeedOne",
	},
}
