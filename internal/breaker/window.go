package breaker

import "time"

// fineness is into how many parts a window is divided at most: attempts are forgotten together.
const fineness = 60

// window counts attempts and forgets those that are older than span. Its size depends on the
// number of codes, not of attempts.
type window struct {
	span           time.Duration
	parts          []part // oldest first
	failed, passed int64
}

// part has what happened in a sixtieth of the span from begin on.
type part struct {
	begin          time.Time
	failed, passed int64
	codes          map[string]int64
}

func (w *window) pass(now time.Time, n int64) {
	w.at(now).passed += n
	w.passed += n
}

func (w *window) fail(now time.Time, code string) {
	p := w.at(now)
	if p.codes == nil {
		p.codes = map[string]int64{}
	}
	p.codes[code]++
	p.failed++
	w.failed++
}

// at forgets what is too old and returns the part that now is in.
func (w *window) at(now time.Time) *part {
	old := 0
	for old < len(w.parts) && now.Sub(w.parts[old].begin) >= w.span {
		w.failed -= w.parts[old].failed
		w.passed -= w.parts[old].passed
		old++
	}
	w.parts = append(w.parts[:0], w.parts[old:]...)
	if n := len(w.parts); n == 0 || now.Sub(w.parts[n-1].begin) >= w.span/fineness {
		w.parts = append(w.parts, part{begin: now})
	}
	return &w.parts[len(w.parts)-1]
}

// codes counts the failures by code.
func (w *window) codes() map[string]int64 {
	sums := map[string]int64{}
	for _, p := range w.parts {
		for c, n := range p.codes {
			sums[c] += n
		}
	}
	return sums
}

// mostFrequent returns the code that most failures have, and their share of all failures.
func mostFrequent(codes map[string]int64) (code string, share float64) {
	var most, all int64
	for c, n := range codes {
		all += n
		if n > most || (n == most && c < code) {
			code, most = c, n
		}
	}
	return code, float64(most) / float64(all)
}
