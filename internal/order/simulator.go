package order

// Mode says whether a simulated failure passes.
type Mode string

const (
	// Sticky: an order that fails, fails at every attempt.
	Sticky Mode = "sticky"
	// Transient: an order that fails, fails at its first attempts and then passes.
	Transient Mode = "transient"
)

// CodeSimulated is the code of a simulated failure, TextSimulated its text: scripts and tests
// rely on both.
const (
	CodeSimulated = "simulated_failure"
	TextSimulated = "Simulated processing failure"
)

// Simulator decides which orders fail. The zero value fails none.
type Simulator struct {
	// Rate is the share of orders that fail, 0 to 1.
	Rate float64
	Mode Mode
	Seed int64
	// Recover is how many attempts fail in Transient mode.
	Recover int
}

// Fails says whether this attempt (the first is 1) of the order fails. It depends on its
// arguments and the settings alone, so that any instance, now or after a restart, says the same.
func (s Simulator) Fails(orderID string, attempt int) bool {
	if s.Rate <= 0 || uniform(s.Seed, orderID) >= s.Rate {
		return false
	}
	return s.Mode != Transient || attempt <= s.Recover
}

// uniform maps a seed and an id to [0,1): FNV-1a over both, then a finalizer that spreads the
// difference of ids that count up over all bits, which FNV alone does not.
func uniform(seed int64, id string) float64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for s, i := uint64(seed), 0; i < 8; i++ {
		h = (h ^ (s & 0xff)) * prime
		s >>= 8
	}
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * prime
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return float64(h>>11) / (1 << 53)
}
