package mutation

// instances are rules of the transaction, too: of what an instance finds when it begins, and of
// other instances of its name.
var instances = map[string]mutant{
	// Where to go on, and what waits for its state.
	"ignores that the group's offset was reset": {
		"position.go", "if forgotten && known {",
		"if known {",
		"TestAResetBackwardsIsProcessedAgainAndCounted",
	},
	"goes back to the start when the group was forgotten": {
		"position.go", "if forgotten && known {",
		"if false && known {",
		"TestWhereToGoOn",
	},
	"takes an offset behind the end as it is": {
		"position.go", "if at > log.To {",
		"if false {",
		"TestAnOffsetBehindTheEndCountsNothingTwice",
	},
	"skips to the end when the offset is behind it": {
		"position.go", "at = min(at, l.Next)",
		"at = min(at, log.To)",
		"TestWhereToGoOn",
	},
	"leaves it to the client where to go on": {
		"connect.go", "kgo.ConsumeResetOffset(kgo.NoResetOffset()),",
		"kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),",
		"TestRetentionThatOvertakesTheConsumer",
	},
	"does not notice that the log was cut while it reads": {
		"handout.go", "errors.Is(err, kerr.OffsetOutOfRange) || cut:",
		"errors.Is(err, kerr.OffsetOutOfRange) && !cut:",
		"TestALogThatWasCutIsReadFromThere",
	},
	"takes an epoch that somebody else has committed for its own": {
		"position.go", "if at == l.Next && log.cut >= 0 {",
		"if log.cut >= 0 {",
		"TestAResetWithAnyEpochIsObeyed",
	},
	"takes an end that is not known yet for a cut": {
		"restore.go", "} else if offsets[topic][partition].EpochOffset().Offset > logs[tp].To {",
		"} else if false {",
		"TestALogWhoseEndIsNotKnownYetIsNotTakenForCut",
	},
	"takes a new order for the former one at its offset": {
		"handout.go", "if !w.is(rec) {",
		"if false && !w.is(rec) {",
		"TestAnOrderIsToldFromAFormerOneAtItsOffset",
	},
	"reads a new order while the state holds the former one": {
		"reused.go", "if _, unwritten := p.written[offset]; unwritten {",
		"if _, unwritten := p.written[offset]; false && unwritten {",
		"TestAFormerOrderIsForgottenBeforeTheNewOneIsRead",
	},
	"never passes what was aborted": {
		"connect.go", "kgo.KeepControlRecords(),",
		"",
		"TestTheLagEndsBehindWhatIsNoOrder",
	},
	"takes a marker for an order": {
		"handout.go", "if rec.Attrs.IsControl() {",
		"if false && rec.Attrs.IsControl() {",
		"TestMarkersAreNotCounted",
	},
	"believes a clock that was ahead": {
		"partition.go", "if ahead > 0 && !w.due.IsZero() {",
		"if false && ahead > 0 {",
		"TestAWaitIsNoLongerThanTheClockThatSetItMeant",
	},
	"ends whatever transaction the state names": {
		"leftovers.go", `!strings.HasPrefix(o.TransactionalID, c.conf.transactionalID(""))`,
		`o == (Owner{}) || strings.HasPrefix(o.TransactionalID, "/")`,
		"TestATransactionOfAnotherGroupIsNotEnded",
	},
	"forgets what a reset has skipped": {
		"position.go", "l.Skipped = left",
		"l.Skipped = nil",
		"TestRereadsAndSkippedStretchesAreExact",
	},
	"does not notice that a topic was made again": {
		"position.go", `case id == "" || p.ledger.TopicID == id:`,
		"case true:",
		"TestATopicThatWasMadeAgainIsNotTakenForTheFormer",
	},
	"stops for partitions that have no state": {
		"aside.go", "if number < state {",
		"if true {",
		"TestPartitionsThatAreAddedWaitForTheirState",
	},
	"leaves added partitions aside for ever": {
		"aside.go", "if len(c.aside) == 0 {",
		"if true {",
		"TestPartitionsThatAreAddedWaitForTheirState",
	},
	// Instances that fence each other.
	"comes back at once when it was fenced again": {
		"input.go", "if now.Sub(in.fenced) < turns*in.conf.sessionTimeout {",
		"if false {",
		"TestInstancesOfOneNameTakeTurns",
	},
	"asks to join as a member that was fenced": {
		"group.go", "if isFenced(err) {",
		"if false {",
		"TestAMemberThatIsFencedBetweenTransactionsConnectsAnew",
	},
}
