package redrive

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/orderflow/orderflow/plugins/dlqredrive"
)

// look is how often the progress is drawn.
const look = 200 * time.Millisecond

// show draws the progress on a terminal, with an estimate of the rest, until the function that
// it returns is called.
func show(watch *dlqredrive.Watch, o options, w io.Writer) (stop func()) {
	if !o.terminal {
		return func() {}
	}
	bar := newBar(w)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(look)
		defer tick.Stop()
		for {
			select {
			case <-end:
				_ = bar.Finish() // a terminal that is gone is no failure of the redrive
				return
			case <-tick.C:
				draw(bar, watch.Report(), o.dryRun)
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

func newBar(w io.Writer) *progressbar.ProgressBar {
	return progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetWidth(30),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionClearOnFinish(),
	)
}

func draw(bar *progressbar.ProgressBar, r dlqredrive.Report, dryRun bool) {
	if r.Total == 0 || r.Passed >= r.Total {
		return // a bar that is full is gone
	}
	verb := "sent"
	if dryRun {
		verb = "to send"
	}
	bar.ChangeMax64(r.Total)
	bar.Describe(fmt.Sprintf("%d %s", r.Sent, verb))
	_ = bar.Set64(r.Passed)
}
