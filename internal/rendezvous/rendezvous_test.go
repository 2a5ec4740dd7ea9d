package rendezvous

import (
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

type hub struct{ n int }

func TestAStreamHasOneValueOfATypeAtATime(t *testing.T) {
	res := service.MockResources()
	_, found := Find[*hub](res)
	require.False(t, found)

	first, second := &hub{1}, &hub{2}
	withdraw, ok := Offer(res, first)
	require.True(t, ok)
	_, ok = Offer(res, second)
	require.False(t, ok)
	got, found := Find[*hub](res)
	require.True(t, found)
	require.Same(t, first, got)

	_, ok = Offer(res, 3)
	require.True(t, ok, "one of another type")

	withdraw()
	got, _ = Find[*hub](res)
	require.Same(t, first, got, "until the stream is made again")
	_, ok = Offer(res, second)
	require.True(t, ok)
	got, _ = Find[*hub](res)
	require.Same(t, second, got)
}
