package oracle

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAveragesAreRoundedHalfEven(t *testing.T) {
	for in, want := range map[string]string{
		"1/3":       "0.3333",
		"2/3":       "0.6667",
		"0.00005":   "0",
		"0.00015":   "0.0002",
		"0.00025":   "0.0002",
		"0.0002501": "0.0003",
		"-0.00015":  "-0.0002",
		"20":        "20",
		"19.990":    "19.99",
	} {
		r, ok := new(big.Rat).SetString(in)
		require.True(t, ok)
		require.Equal(t, want, decimal(halfEven(r, 4)), in)
	}
}

func TestAggregatesAreComparedByValue(t *testing.T) {
	var a aggregate
	for _, price := range []string{"10.50", "9.5", "0.1"} {
		r, _ := new(big.Rat).SetString(price)
		a.add(r)
	}
	broker := Aggregates{Overall: a.export(), Groups: map[string]Aggregate{"Pen": a.export()}}

	same := `{"count":3,"sum":"20.10","min":"0.1","max":"10.5","average":"6.7"}`
	require.NoError(t, broker.CompareJSON([]byte(`{"overall":`+same+`,"groups":{"Pen":`+same+`}}`)))

	other := `{"count":3,"sum":"20.11","min":"0.1","max":"10.5","average":""}`
	err := broker.CompareJSON([]byte(`{"overall":` + other + `,"groups":{"Book":` + same + `}}`))
	require.EqualError(t, err, `overall: sum: broker 20.1, given 20.11
overall: average: broker 6.7, given `+`
group "Book": count: broker 0, given 3
group "Pen": count: broker 3, given 0`)

	require.ErrorContains(t, broker.CompareJSON([]byte("no")), "reading aggregates: ")
	require.NoError(t, Aggregates{}.CompareJSON([]byte(`{"overall":{"count":0,"sum":"0"},"groups":{}}`)))
}
