// Package bounded holds what reads bytes from outside to its bounds: how much memory it may ask
// for, and how long it may take, whatever it is given.
package bounded

import (
	"runtime/metrics"
	"testing"
	"time"
)

const (
	// Patience is the longest that reading may take, on a busy machine too.
	Patience = 5 * time.Second
	// slack is more than what the runtime counts late, which are small objects, and perByte what
	// a byte may cost that is kept in maps and pointers.
	slack   = 4 << 20
	perByte = 64
)

// Memory runs read, which is given that many bytes, and fails the test if it allocates more than
// they can justify: a length that is believed before the bytes are there. It also fails if
// read takes longer than Patience.
func Memory(t testing.TB, bytes int, read func()) {
	t.Helper()
	before, begun := allocated(), time.Now()
	read()
	most := uint64(slack + perByte*bytes)
	if n := allocated() - before; n > most {
		t.Fatalf("allocated %d bytes for %d, at most %d are allowed", n, bytes, most)
	}
	if took := time.Since(begun); took > Patience {
		t.Fatalf("took %v for %d bytes, at most %v are allowed", took, bytes, Patience)
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
