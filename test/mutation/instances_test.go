package mutation

// instances are rules of the transaction, too: of what an instance finds when it begins, and of
// other instances of its name.
var instances = map[string]mutant{
	// Where to go on, and what waits for its state.
	"ignores that the group's offset was reset": {
		"position.go", "case l.Next == at:",
		"case l.Next != unknownOffset:",
		"TestAResetBackwardsIsProcessedAgainAndCounted",
	},
	"goes back to the start when the group was forgotten": {
		"position.go", "case forgotten:",
		"case false:",
		"TestAGroupThatWasForgottenGoesOnFromItsState",
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
