package order_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/writers"
)

// Whatever others write orders with, what they meant is read, or refused for the right reason, and
// no shorter or longer record is.
func TestWhatOthersWrite(t *testing.T) {
	reader := current(t)
	rapid.Check(t, func(t *rapid.T) {
		c := writers.Draw(t)
		got, code := resolve(t, reader, c.Schema, c.Record)
		if code != c.Code {
			t.Fatalf("code %q, want %q: %s of %x", code, c.Code, c.Schema, c.Record)
		}
		if got.ID != c.Want.ID || got.Product != c.Want.Product || math.Float64bits(got.Price) != math.Float64bits(c.Want.Price) {
			t.Fatalf("got %+v, want %+v: %s of %x", got, c.Want, c.Schema, c.Record)
		}
		if c.Code != "" {
			return
		}
		cut := rapid.IntRange(0, len(c.Record)-1).Draw(t, "cut")
		if o, code := resolve(t, reader, c.Schema, c.Record[:cut]); code == "" {
			t.Fatalf("%d of %d bytes are %+v: %s of %x", cut, len(c.Record), o, c.Schema, c.Record)
		}
		if o, code := resolve(t, reader, c.Schema, append(c.Record, 0)); code == "" {
			t.Fatalf("a byte more is %+v: %s of %x", o, c.Schema, c.Record)
		}
	})
}

func resolve(t *rapid.T, reader *order.Schema, writer string, record []byte) (order.Order, string) {
	t.Helper()
	s, err := order.ParseSchema(writer)
	if err != nil {
		t.Fatalf("%v: %s", err, writer)
	}
	d, err := order.NewDecoder(reader, s)
	if err != nil {
		return order.Order{}, writers.Incompatible
	}
	o, err := d.Decode(record)
	if err == nil {
		return o, ""
	}
	_, code := failure.Of(err)
	return order.Order{}, code
}
