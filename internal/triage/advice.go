package triage

import "github.com/orderflow/orderflow/internal/failure"

// Advice is what can be done about the dead letters of a group.
type Advice string

const (
	// Mend: the order is at fault and can be read, so that a mapping can mend it.
	Mend Advice = "mend"
	// SendAgain: the cause may have passed.
	SendAgain Advice = "send again"
	// Wait: something else has to change first, such as a topic or a registry; then send again.
	Wait Advice = "wait"
	// None: the letter has no order that anybody can read. Its producer has to send another one.
	None Advice = "none"
	// Look: another system wrote no class, so that a person has to look at one.
	Look Advice = "look"
)

// elsewhere are codes of failures that are not the order's fault, and that come back until somebody
// has changed something.
var elsewhere = map[string]bool{
	"output_refused":        true, // the topic took no such record
	"registry_missing":      true, // no registry is configured
	"unknown_schema_id":     true, // the registry lacks the schema
	"schema_incompatible":   true, // the reader's schema is behind the writer's
	"schema_not_registered": true,
	"schema_refused":        true,
}

// Advise says what can be done about a failure of this class and code, whose order can be decoded
// or not.
func Advise(class, code string, decodable bool) Advice {
	switch c := failure.Class(class); {
	case c != failure.Transient && c != failure.Permanent:
		return Look
	case elsewhere[code]:
		return Wait
	case c == failure.Transient:
		return SendAgain
	case decodable:
		return Mend
	default:
		return None
	}
}
