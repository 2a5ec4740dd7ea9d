package soak_test

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// A figure is what was measured of one thing over a run.
type figure struct {
	name, unit string
	points     []point
	level      *level // nil: shown, not judged
}

// A point is a value and when it was measured, from the beginning of the run.
type point struct {
	at    time.Duration
	value float64
}

// level is how far the median of the last quarter may be above that of the second: what grows
// with each order grows far more in an hour.
type level struct{ factor, more float64 }

// quarters returns what was measured in each quarter of a run, sorted.
func (f figure) quarters(run time.Duration) (all [4][]float64) {
	for _, p := range f.points {
		q := min(int(4*p.at/run), 3)
		all[q] = append(all[q], p.value)
	}
	for _, values := range all {
		slices.Sort(values)
	}
	return all
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

// judge is nil when the figure stayed level. The first quarter is left out, since caches fill in
// it. A run with a quarter in which nothing was measured proves nothing, which is an error too.
func (f figure) judge(run time.Duration) error {
	if f.level == nil {
		return nil
	}
	quarters := f.quarters(run)
	second, last := quarters[1], quarters[3]
	if len(second) == 0 || len(last) == 0 {
		return fmt.Errorf("%s: measured %d times in the second quarter and %d times in the last", f.name, len(second), len(last))
	}
	if most := median(second)*f.level.factor + f.level.more; median(last) > most {
		return fmt.Errorf("%s: its median grew from %.4g %s in the second quarter to %.4g in the last, at most %.4g is level",
			f.name, median(second), f.unit, median(last), most)
	}
	return nil
}

// write prints minimum, median and maximum of each quarter.
func write(w io.Writer, figures []figure, run time.Duration) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "min / median / max\tof\tquarter 1\tquarter 2\tquarter 3\tquarter 4\t")
	for _, f := range figures {
		fmt.Fprintf(tab, "%s\t%s\t", f.name, cmp.Or(f.unit, "number"))
		for _, q := range f.quarters(run) {
			if len(q) == 0 {
				fmt.Fprint(tab, "-\t")
				continue
			}
			fmt.Fprintf(tab, "%.3g / %.3g / %.3g\t", q[0], median(q), q[len(q)-1])
		}
		fmt.Fprintln(tab)
	}
	return tab.Flush()
}

func TestLevelIsJudgedByTheMediansOfTheSecondAndTheLastQuarter(t *testing.T) {
	measured := func(values ...float64) figure {
		f := figure{name: "memory", unit: "MB", level: &level{factor: 1.5, more: 1}}
		for i, v := range values {
			f.points = append(f.points, point{time.Duration(i) * time.Minute, v})
		}
		return f
	}
	for name, c := range map[string]struct {
		values []float64
		want   string
	}{
		"level":                        {[]float64{5, 5, 5, 5, 5, 5, 5, 5}, ""},
		"growth within what is level":  {[]float64{5, 5, 4, 4, 5, 5, 7, 7}, ""},
		"growth beyond":                {[]float64{5, 5, 4, 4, 5, 5, 7.1, 7.1}, "memory: its median grew from 4 MB in the second quarter to 7.1 in the last, at most 7 is level"},
		"growth in the first quarter":  {[]float64{1, 2, 9, 9, 9, 9, 9, 9}, ""},
		"one peak in the last quarter": {[]float64{5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 99, 5}, ""},
		"nothing in the last quarter":  {[]float64{5, 5, 5, 5}, "memory: measured 1 times in the second quarter and 0 times in the last"},
	} {
		t.Run(name, func(t *testing.T) {
			f := measured(c.values...)
			run := time.Duration(max(len(c.values), 6)) * time.Minute
			if c.want == "" {
				require.NoError(t, f.judge(run))
			} else {
				require.EqualError(t, f.judge(run), c.want)
			}
		})
	}
}
