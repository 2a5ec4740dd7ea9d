// Package rendezvous lets the parts of a plugin in one stream find each other: the input offers
// what they share, and processors and outputs, which the host makes after it, find that.
package rendezvous

import (
	"sync/atomic"

	"github.com/redpanda-data/benthos/v4/public/service"
)

type key[T any] struct{ stream string }

type offer[T any] struct {
	value T
	over  atomic.Bool
}

// Offer lets others of the stream find v. A stream has one value of a type: ok is false, and v is
// not offered, unless the one before was withdrawn, since the stream was stopped and is made again.
func Offer[T any](res *service.Resources, v T) (withdraw func(), ok bool) {
	o := &offer[T]{value: v}
	if old, exists := res.GetOrSetGeneric(key[T]{res.StreamID()}, o); exists {
		if !old.(*offer[T]).over.Load() {
			return nil, false
		}
		res.SetGeneric(key[T]{res.StreamID()}, o)
	}
	return func() { o.over.Store(true) }, true
}

// Find returns what was offered in the stream last.
func Find[T any](res *service.Resources) (v T, ok bool) {
	found, ok := res.GetGeneric(key[T]{res.StreamID()})
	if ok {
		v = found.(*offer[T]).value
	}
	return v, ok
}
