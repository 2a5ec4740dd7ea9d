// Package schemas holds the Avro schemas of an order. The current one is order.avsc (version 2);
// history/ has the version before and the one after it, which tests hold compatible with it.
package schemas

import _ "embed"

// Order is the text of order.avsc, as it was when the binary was built.
//
//go:embed order.avsc
var Order string
