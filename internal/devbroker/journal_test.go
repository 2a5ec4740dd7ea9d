package devbroker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever is in the file: what was read from it, and one change more, is read again.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"method":"POST","path":"/subjects/orders-value/versions","body":"{}"}` + "\n"))
	f.Add([]byte(`{"method":"PUT","path":"/config"}` + "\n" + `{"method":"DEL`))
	f.Add([]byte("\n"))
	f.Add([]byte("null\n"))
	f.Add([]byte("not JSON\n"))
	path := filepath.Join(f.TempDir(), "journal")
	f.Fuzz(func(t *testing.T, content []byte) {
		require.NoError(t, os.WriteFile(path, content, 0o600))
		var first, second []change
		keep := func(all *[]change) func(change) error {
			return func(c change) error { *all = append(*all, c); return nil }
		}
		j, err := openJournal(path, keep(&first))
		if err != nil {
			require.Regexp(t, `^line \d+: `, err.Error())
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(content), string(left), "what cannot be read is left as it is")
			return
		}
		more := change{Method: "POST", Path: "/config", Body: "{}"}
		require.NoError(t, j.append(more))
		require.NoError(t, j.close())

		j, err = openJournal(path, keep(&second))
		require.NoError(t, err)
		require.NoError(t, j.close())
		require.Zero(t, j.torn)
		require.Equal(t, append(first, more), second)
	})
}
