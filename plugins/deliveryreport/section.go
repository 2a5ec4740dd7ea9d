package deliveryreport

import (
	"fmt"
	"io"
	"time"

	"github.com/orderflow/orderflow/internal/summary"
)

// section makes the end-of-run report.
func section(figuresNow func() figures) summary.Section {
	return func(w io.Writer) {
		f := figuresNow()
		if f.produced == 0 && f.failedAttempts == 0 {
			return
		}
		fmt.Fprintln(w, "Delivery")
		fmt.Fprintf(w, "  produced         %d\n", f.produced)
		fmt.Fprintf(w, "  failed           %d\n", f.failed)
		if f.failedAttempts > 0 {
			fmt.Fprintf(w, "  failed attempts  %d\n", f.failedAttempts)
		}
		if f.produced > 0 {
			fmt.Fprintf(w, "  latency          average %s, p50 %s, p99 %s\n",
				milliseconds(f.average), milliseconds(f.p50), milliseconds(f.p99))
		}
	}
}

// milliseconds shows a duration in the one unit in which latencies compare at a glance.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
