package registry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/registry"
)

func TestRegistering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, s := setUp(t)
		schema, err := order.ParseSchema(schemas.Order)
		require.NoError(t, err)

		_, err = c.ID(t.Context(), "orders-value", schema, false)
		requireCode(t, err, registry.CodeNotRegistered)
		require.ErrorContains(t, err, "subject orders-value: ")
		time.Sleep(11 * time.Second)

		w.fail(refused)
		time.AfterFunc(3*time.Second, func() { w.fail(nil) })
		id, err := c.ID(t.Context(), "orders-value", schema, true)
		require.NoError(t, err)
		require.Equal(t, []string{"down", "back"}, s.all)
		require.True(t, w.registry.SubjectExists("orders-value"))

		before := w.requests.Load()
		again, err := c.ID(t.Context(), "orders-value", schema, true)
		require.NoError(t, err)
		require.Equal(t, id, again)
		require.Equal(t, before, w.requests.Load())

		fresh, other, _ := setUp(t)
		other.registry.SeedSchema("orders-value", 1, 42, sr.Schema{Schema: schemas.Order})
		found, err := fresh.ID(t.Context(), "orders-value", schema, false)
		require.NoError(t, err)
		require.EqualValues(t, 42, found)
	})
}

func TestARegistryMayRefuseASchema(t *testing.T) {
	for _, code := range []int{409, 422, 400} {
		c, w, s := setUp(t)
		schema, err := order.ParseSchema(schemas.Order)
		require.NoError(t, err)
		w.fail(status(code, `{"error_code":42201,"message":"incompatible with an earlier schema"}`))
		for range 100 {
			_, err = c.ID(t.Context(), "orders-value", schema, true)
			requireCode(t, err, registry.CodeRefused)
			require.EqualError(t, err, "subject orders-value: incompatible with an earlier schema")
		}
		require.EqualValues(t, 1, w.requests.Load())
		require.Empty(t, s.all)
	}
}

func TestAnAnswerWithoutIDIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w, s := setUp(t)
		schema, err := order.ParseSchema(schemas.Order)
		require.NoError(t, err)
		w.fail(status(200, `{}`))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.ID(ctx, "orders-value", schema, true)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, []string{"down"}, s.all)
	})
}
