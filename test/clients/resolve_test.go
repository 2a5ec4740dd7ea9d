package clients

import (
	"bytes"
	"encoding/json"
	"math"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
	"github.com/orderflow/orderflow/test/writers"
)

// resolved is what another library makes of a record, see java/Resolve.java.
type resolved struct {
	Whole          bool
	Error          string
	ID, Product    string
	Price, Decimal string
}

// Schemas that others may write with are made up, and records of them are read by the schema of an
// order: by us, by Java's Avro and by Python's. All make the same order of it, or all refuse it, but
// for what the libraries do not take, see writers.Case.
func TestWhatOthersWriteIsReadAsJavaAndPythonReadIt(t *testing.T) {
	kafka.Require(t)
	const n = 5_000
	schema := filepath.Join(child.Root(t), "config", "schemas", "order.avsc")
	type task struct {
		Schema string `json:"schema"`
		Record []byte `json:"record"`
	}
	var cases []writers.Case
	var tasks bytes.Buffer
	draw := rapid.Custom(writers.Draw)
	for seed := range n {
		c := draw.Example(seed)
		cases = append(cases, c)
		require.NoError(t, json.NewEncoder(&tasks).Encode(task{withoutDefaults(t, c.Schema), c.Record}))
	}
	java := CompileJava(t).command("Resolve", schema)
	python := exec.Command(python(t), filepath.Join(child.Root(t), "test", "clients", "resolve.py"), schema)
	libraries := map[string][]resolved{"Java": resolve(t, java, tasks.Bytes()), "Python": resolve(t, python, tasks.Bytes())}

	reader, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	counts := map[string]int{}
	for i, c := range cases {
		ours, err := decode(reader, c)
		counts[c.Code]++
		for name, all := range libraries {
			theirs := all[i]
			about := []any{"%s, case %d: ours %+v %v, theirs %+v: %s of %x", name, i, ours, err, theirs, c.Schema, c.Record}
			require.True(t, theirs.Whole, append([]any{"the case is wrong: " + about[0].(string)}, about[1:]...)...)
			switch {
			case c.Decimal && err == nil: // it must be the number that the library takes it for
				require.NotEmpty(t, theirs.Error, about...)
				require.Equal(t, bits(ours.Price), theirs.Decimal, about...)
				counts[name+": a decimal"]++
			case name == "Python" && c.OtherName && err == nil:
				require.NotEmpty(t, theirs.Error, about...)
				counts[name+": another name"]++
			case err != nil:
				require.NotEmpty(t, theirs.Error, about...)
				counts[name+": refused"]++
			default:
				require.Empty(t, theirs.Error, about...)
				require.Equal(t, resolved{Whole: true, ID: ours.ID, Product: ours.Product, Price: bits(ours.Price)}, theirs, about...)
				counts[name+": the same order"]++
			}
		}
	}
	t.Log(counts)
	for _, name := range []string{"Java: the same order", "Python: the same order", "Java: refused", "Java: a decimal", "Python: a decimal"} {
		require.Greater(t, counts[name], n/20, name)
	}
}

// withoutDefaults leaves out the defaults, which are wrong now and then: the libraries refuse to
// parse some of those, although they never use them.
func withoutDefaults(t *testing.T, schema string) string {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(schema), &v))
	var strip func(v any)
	strip = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, in := range v {
				strip(in)
			}
		case map[string]any:
			delete(v, "default")
			for _, in := range v {
				strip(in)
			}
		}
	}
	strip(v)
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func decode(reader *order.Schema, c writers.Case) (order.Order, error) {
	s, err := order.ParseSchema(c.Schema)
	if err != nil {
		return order.Order{}, err
	}
	d, err := order.NewDecoder(reader, s)
	if err != nil {
		return order.Order{}, err
	}
	return d.Decode(c.Record)
}

func bits(f float64) string { return strconv.FormatUint(math.Float64bits(f), 16) }

// resolve runs a library over the tasks.
func resolve(t *testing.T, cmd *exec.Cmd, tasks []byte) []resolved {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(tasks), &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var all []resolved
	for lines := json.NewDecoder(bytes.NewReader(out)); lines.More(); {
		var r resolved
		require.NoError(t, lines.Decode(&r))
		all = append(all, r)
	}
	require.Len(t, all, bytes.Count(tasks, []byte("\n")))
	return all
}
