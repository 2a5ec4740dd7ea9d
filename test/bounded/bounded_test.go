package bounded

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// judged is a test that remembers how it failed.
type judged struct {
	testing.TB
	why string
}

func (*judged) Helper() {}

func (j *judged) Fatalf(format string, args ...any) { j.why = fmt.Sprintf(format, args...) }

var kept []byte

func TestAnAllocationBeyondTheBoundIsFound(t *testing.T) {
	for size, found := range map[int]bool{1 << 10: false, 64 << 20: true} {
		j := &judged{TB: t}
		Memory(j, 100, func() { kept = make([]byte, size) })
		require.Equal(t, found, j.why != "", "%d bytes: %s", size, j.why)
	}
}
