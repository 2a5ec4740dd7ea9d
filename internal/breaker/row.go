package breaker

import "time"

// row is what has failed since something passed last.
type row struct {
	begin  time.Time // of the first failure, zero before it
	orders int64     // first attempts
	codes  map[string]int64
	spent  time.Duration // by the attempts that failed, since begin
}

func (r *row) fail(now time.Time, took time.Duration, first bool, code string) {
	if r.begin.IsZero() {
		r.begin, r.codes = now, map[string]int64{}
	}
	// An attempt that began before the row says nothing of the time before it: others passed then.
	r.spent += min(took, now.Sub(r.begin))
	if first {
		r.orders++
		r.codes[code]++
	}
}

// busy tells whether attempts that failed took half of the row's time or more.
func (r *row) busy(now time.Time) bool { return r.spent > 0 && 2*r.spent >= now.Sub(r.begin) }
