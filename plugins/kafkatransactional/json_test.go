package kafkatransactional

import (
	"math"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func hostJSON(t require.TestingT, v any) string {
	msg := service.NewMessage(nil)
	msg.SetStructured(v)
	b, err := msg.AsBytes()
	require.NoError(t, err)
	return string(b)
}

func TestJSONIsThatOfTheHost(t *testing.T) {
	value := rapid.OneOf(
		rapid.Just[any](nil),
		rapid.Bool().AsAny(),
		rapid.Int().AsAny(),
		rapid.Int64().AsAny(),
		rapid.Float64().AsAny(),
		rapid.SampledFrom([]any{0.0, math.Copysign(0, -1), 1e-6, 9.9e-7, 1e20, 1e21, 19.99, 1e6, "", "<&>", "a\"b", `a\b`, "\u2028", "é", "\x7f", "a\xff"}),
		rapid.String().AsAny(),
	)
	object := rapid.MapOf(rapid.String(), value).AsAny()
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		document := rapid.OneOf(value, object, rapid.MapOfN(rapid.StringMatching(`[a-z]{1,3}`), rapid.OneOf(value, object), 0, 12).AsAny())
		var w jsonWriter
		w.append(nil, document.Draw(t, "document before"))
		v := document.Draw(t, "document")
		got, ok := w.append([]byte("before"), v)
		if !ok {
			return
		}
		plain++
		want := "null" // the host takes a document of null for raw text
		if v != nil {
			want = hostJSON(t, v)
		}
		require.Equal(t, "before"+want, string(got))
	})
	require.Positive(t, plain)
}

func TestWhatIsLeftToTheHost(t *testing.T) {
	for name, v := range map[string]any{
		"NaN":                    math.NaN(),
		"infinity":               math.Inf(1),
		"an exponent":            1e21,
		"a small number":         1e-7,
		"text that needs quotes": `"`,
		"text that is not ASCII": "é",
		"a name that needs them": map[string]any{"a\n": 1},
		"inside an object":       map[string]any{"a": map[string]any{"b": math.NaN()}},
		"another type":           []any{1},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := new(jsonWriter).append(nil, v)
			require.False(t, ok)
		})
	}
}

func BenchmarkJSON(b *testing.B) {
	order := map[string]any{"orderId": "ORD-00001234", "product": "Keyboard", "price": 419.87}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		var w jsonWriter
		var buf []byte
		for b.Loop() {
			buf, _ = w.append(buf[:0], order)
		}
	})
	b.Run("host", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			msg := service.NewMessage(nil)
			msg.SetStructured(order)
			_, _ = msg.AsBytes()
		}
	})
}
