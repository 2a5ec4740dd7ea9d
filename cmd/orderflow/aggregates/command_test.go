package aggregates

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/test/hostile"
)

func printed(t require.TestingT, groups aggregate.Groups, asJSON bool) string {
	var out bytes.Buffer
	require.NoError(t, Print(&out, groups, asJSON))
	return out.String()
}

func counted(t require.TestingT, prices map[string]float64) aggregate.Groups {
	groups := aggregate.NewGroups(0)
	for product, price := range prices {
		d, err := aggregate.FromFloat(price)
		require.NoError(t, err)
		groups.Add(product, d)
	}
	return groups
}

func TestATableOfExtremes(t *testing.T) {
	groups := counted(t, map[string]float64{"Pen": 9e307, "日本": 1e-7, "overall": 1000000.01, "\x1b[2J\u202e": 2, `"Pen"`: 3})
	require.Equal(t, strings.TrimLeft(`
                   count     average         min         max       total
          overall      5     1.8e307        1e-7       9e307       9e307
  "\x1b[2J\u202e"      1           2           2           2           2
        "\"Pen\""      1           3           3           3           3
              Pen      1       9e307       9e307       9e307       9e307
        "overall"      1  1000000.01  1000000.01  1000000.01  1000000.01
             日本      1           0        1e-7        1e-7        1e-7
`, "\n"), printed(t, groups, false))
}

func TestNothing(t *testing.T) {
	require.Equal(t, "           count  average  min  max  total\n  overall      0        -    -    -      0\n", printed(t, aggregate.Groups{}, false))
	require.Equal(t, `{"overall":{"count":0,"sum":"0","min":null,"max":null,"average":null},"groups":{}}`+"\n", printed(t, aggregate.Groups{}, true))
}

// Whatever products are called, each has one row, only one row is the one of all, and JSON is exact.
func TestNoProductForgesARow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prices := map[string]float64{}
		for range rapid.IntRange(1, 5).Draw(t, "products") {
			prices[hostile.UTF8().Filter(func(s string) bool { return s != "" && len(s) <= aggregate.MaxKey }).Draw(t, "product")] = 1.5
		}
		groups := counted(t, prices)
		table := printed(t, groups, false)
		hostile.Check(t, table)
		rows := strings.Split(strings.TrimSuffix(table, "\n"), "\n")
		require.Len(t, rows, 2+len(prices))
		for i, row := range rows[1:] {
			require.Equal(t, i == 0, strings.HasPrefix(strings.TrimLeft(row, " "), "overall "), table)
		}

		document := printed(t, groups, true)
		hostile.Check(t, document)
		var back struct{ Groups map[string]any }
		require.NoError(t, json.Unmarshal([]byte(document), &back))
		require.Len(t, back.Groups, len(prices))
		for product := range prices {
			require.Contains(t, back.Groups, product)
		}
	})
}

// Of Pen the second instance had counted one order as other, having no room.
func TestPartialFiguresAreCalledSo(t *testing.T) {
	b, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	cl, err := kgo.NewClient(append(b.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	_, err = kadm.NewClient(cl).CreateTopic(t.Context(), 2, 1, nil, "orders-state")
	require.NoError(t, err)
	for _, r := range []struct {
		partition  int32
		key, value string
	}{
		{0, "aggregate/orders/0//Pen", "1 2 3 1 2"},
		{0, "aggregate/orders/0//Ink", "1 1 5 5 5"},
		{1, "aggregate/orders/1//Ink", "1 1 4 4 4"},
	} {
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders-state", Partition: r.partition, Key: []byte(r.key), Value: []byte(r.value)}).FirstErr())
	}
	groups, err := Read(t.Context(), "orders-state", "", b.ClientOpts()...)
	require.NoError(t, err)
	require.NotContains(t, printed(t, groups, false), "partial")
	require.NotContains(t, printed(t, groups, true), "partial")

	require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders-state", Partition: 1, Key: []byte("aggregate/orders/1//other"), Value: []byte("1 1 7 7 7")}).FirstErr())
	groups, err = Read(t.Context(), "orders-state", "", b.ClientOpts()...)
	require.NoError(t, err)
	require.Equal(t, strings.TrimLeft(`
           count  average  min  max  total
  overall      5      3.8    1    7     19
      Ink      2      4.5    4    5      9
      Pen      2      1.5    1    2      3
    other      1        7    7    7      7
The figures of groups are partial, they may be too low: 1 messages are in "other", as are those of any group that an instance had no room for (max_groups).
`, "\n"), printed(t, groups, false))
	require.True(t, strings.HasSuffix(printed(t, groups, true), `}},"partial":true}`+"\n"))
}
