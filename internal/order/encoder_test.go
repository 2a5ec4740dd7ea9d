package order_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
)

func TestOwnSchemasThatDoNotFit(t *testing.T) {
	for name, c := range map[string]struct{ schema, want string }{
		"no record":          {`"string"`, "preparing encoder: schema is of type string, an order is a record"},
		"price is missing":   {`{"type":"record","name":"Order","fields":[{"name":"orderId","type":"string"},{"name":"product","type":"string"}]}`, "preparing encoder: schema field price: is missing, must be there with type double"},
		"price is a float":   {strings.Replace(record(""), "double", "float", 1), "preparing encoder: schema field price: is of type float, must be double"},
		"a field we lack":    {record(`{"name":"customer","type":"string"},`), "preparing encoder: schema field customer: has no default and an order has no such field"},
		"a recursive schema": {record(`{"name":"next","type":["null","Order"],"default":null},`), "preparing encoder: the schema is recursive"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := order.NewEncoder(parse(t, c.schema))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := order.ParseSchema(`{"type":"recrod"}`)
	require.ErrorContains(t, err, "parsing schema: ")
	_, err = order.ParseSchema(schemas.Order, `{`)
	require.ErrorContains(t, err, "parsing schema: reference 1: ")
}

func TestOnlyUTF8IsEncoded(t *testing.T) {
	e := encoder(t, current(t))
	_, err := e.Append(nil, order.Order{ID: "a\xff", Product: "b"})
	require.ErrorContains(t, err, "field orderId: ")
	_, err = e.Append(nil, order.Order{ID: "a", Product: "\xff"})
	require.ErrorContains(t, err, "field product: ")
}

func BenchmarkEncode(b *testing.B) {
	e := encoder(b, current(b))
	o := order.Order{ID: "order-000001-000042", Product: "Mechanical Keyboard", Price: 129.99}
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = e.Append(buf, o)
	}
}
