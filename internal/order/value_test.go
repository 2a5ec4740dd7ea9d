package order_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

// away is a registry that cannot be reached.
type away struct{}

func (away) Decoder(ctx context.Context, _ uint32) (*order.Decoder, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// silent is a registry that gives no answer.
type silent struct{}

func (silent) Decoder(context.Context, uint32) (*order.Decoder, error) {
	return nil, failure.NewUnavailable("registry_unavailable", errors.New("no answer"))
}

// While the registry is away nobody can tell a frame from a plain record that begins alike.
func TestAFrameIsNotTakenForAPlainRecordWhileTheRegistryIsAway(t *testing.T) {
	d := order.ValueDecoder{Plain: decoder(t, current(t), current(t)), Registry: away{}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := d.Decode(ctx, order.AppendFrame(nil, 9))
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = d.Decode(ctx, append(order.AppendFrame(nil, 9), "\x00\x00\x00\xf8\x3f"...)) // also a plain record
	require.ErrorIs(t, err, context.Canceled)
	class, _ := failure.Of(err)
	require.NotEqual(t, failure.Permanent, class)

	d.Registry = silent{}
	_, _, err = d.Decode(t.Context(), append(order.AppendFrame(nil, 9), "\x00\x00\x00\xf8\x3f"...))
	require.EqualError(t, err, "decoding order: 10 bytes: no answer")
	require.True(t, failure.Unavailable(err))
}
