// Package query asks Bloblang mappings of messages. The host's BloblangQueryValue would suit, but
// it gives a mapping no `this`; so an answer is taken from the message that the mapping makes,
// where a string is raw bytes and null is the word.
package query

import (
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// Value is what a mapping makes of a message: nil where that is null, or a deletion.
func Value(msg *service.Message, mapping *bloblang.Executor) (any, error) {
	answer, err := msg.BloblangQuery(mapping)
	if err != nil || answer == nil {
		return nil, err
	}
	if answer.HasStructured() {
		return answer.AsStructured()
	}
	text, err := answer.AsBytes()
	if err != nil || string(text) == "null" {
		return nil, err
	}
	return string(text), nil
}

// Bool is the answer to a question. Anything but true and false is an error, the texts of these
// words too: the caller decides on it, and had better not take it for a yes.
func Bool(msg *service.Message, question *bloblang.Executor) (bool, error) {
	v, err := Value(msg, question)
	if err != nil {
		return false, err
	}
	yes, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("got %.100q, expected a boolean", bloblang.ValueToString(v))
	}
	return yes, nil
}
