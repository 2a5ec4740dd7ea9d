package order_test

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/bounded"
)

// What is decoded is encoded again to the same order, takes no more memory than the record
// justifies, and what is not decoded names the field, or what follows the last one.
func FuzzDecode(f *testing.F) {
	reader := current(f)
	var decoders []*order.Decoder
	for _, w := range []*order.Schema{
		reader, file(f, version1), file(f, version3),
		parse(f, record(`{"name":"m","type":{"type":"map","values":{"type":"array","items":["null","int"]}}},{"name":"e","type":{"type":"enum","name":"E","symbols":["X"]}},`)),
		parse(f, `{"type":"record","name":"Other","fields":[{"name":"next","type":["null","Other"]},{"name":"orderId","type":["null","string","bytes"]},
			{"name":"product","type":["int","string"]},{"name":"price","type":["null","long",{"type":"bytes","logicalType":"decimal","precision":9,"scale":2},"float"]}]}`),
	} {
		decoders = append(decoders, decoder(f, reader, w))
	}
	f.Add([]byte(sample))
	f.Add([]byte("\x00\x00" + sample))
	f.Add([]byte("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + sample))
	f.Add([]byte("\x02\x02k\x04\x02\x02\x00\x00\x00\x00" + sample))
	f.Add([]byte("\x02\x00\x02\x02A\x02\x02B\x04\x04\x07\xcf"))
	f.Add([]byte("\x00\x02\x02A\x02\x02B\x04\x04\x07\xcf"))
	e := encoder(f, reader)
	f.Fuzz(func(t *testing.T, data []byte) {
		for i, d := range decoders {
			var o order.Order
			var err error
			bounded.Memory(t, len(data), func() { o, err = d.Decode(data) })
			if err != nil {
				require.Regexp(t, `^field \w+: |^\d+ bytes follow after the record$`, err.Error())
				continue
			}
			again, err := e.Append(nil, o)
			require.NoError(t, err)
			back, err := decoders[0].Decode(again)
			require.NoError(t, err)
			require.Equal(t, o.ID, back.ID)
			require.Equal(t, o.Product, back.Product)
			require.Equal(t, math.Float64bits(o.Price), math.Float64bits(back.Price))
			if i == 0 {
				require.LessOrEqual(t, len(again), len(data))
			}
		}
	})
}

// A schema comes from a registry, so it may be anything too: neither it nor a record that was
// written with it takes more memory and time than their bytes justify.
func FuzzParseSchema(f *testing.F) {
	for _, p := range []string{"../../config/schemas/order.avsc", version1, version3} {
		text, err := os.ReadFile(p)
		require.NoError(f, err)
		f.Add(string(text), []byte(sample))
	}
	for _, fields := range []string{
		`{"name":"a","type":{"type":"array","items":"long"}},`, `{"name":"f","type":{"type":"fixed","name":"F","size":2147483647},"default":""},`,
		`{"name":"next","type":"Order","default":{}},`, `{"name":"u","type":[],"default":null},`, doubling(`{"name":"x","type":"null"}`, 20),
		`{"name":"list","type":{"type":"record","name":"L","namespace":"a.b","fields":[{"name":"next","type":["null","L"]}]}},`,
	} {
		f.Add(record(fields), []byte("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"+sample))
	}
	f.Add(strings.Replace(record(""), `"double"`, `["null",{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}]`, 1), []byte("\x02A\x02B\x02\x04\x07\xcf"))
	f.Add(`["null",`+record("")+`]`, []byte("\x02"+sample))
	reader := current(f)
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		bounded.Memory(t, 8*len(text)+len(data), func() {
			s, err := order.ParseSchema(text)
			if err != nil {
				return
			}
			if d, err := order.NewDecoder(reader, s); err == nil {
				_, _ = d.Decode(data)
			}
			_, _ = order.NewEncoder(s)
			_ = order.CanRead(text, text)
		})
	})
}

// What has a frame is its frame and its record, and nothing else has one.
func FuzzSplitFrame(f *testing.F) {
	f.Add([]byte(sample))
	f.Add(order.AppendFrame(nil, 7))
	f.Add(append(order.AppendFrame(nil, math.MaxInt32), sample...))
	f.Add(append(order.AppendFrame(nil, math.MaxInt32+1), sample...))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, record, ok := order.SplitFrame(data)
		require.Equal(t, len(data) >= 5 && data[0] == 0 && data[1] < 0x80 && !bytes.HasPrefix(data, make([]byte, 5)), ok)
		if ok {
			require.True(t, bytes.Equal(data, append(order.AppendFrame(nil, id), record...)))
		}
	})
}
