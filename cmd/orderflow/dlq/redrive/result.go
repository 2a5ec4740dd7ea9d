package redrive

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/terminal"
	"github.com/orderflow/orderflow/plugins/dlqredrive"
)

// result is what a redrive did, or would do.
type result struct {
	dlqredrive.Report
	samples     []dlqredrive.Sample
	dryRun      bool
	interrupted bool
}

func (r *result) write(w io.Writer) {
	for _, s := range r.samples {
		fmt.Fprintf(w, "%s -> %s\n", shown.Text(s.ID), shown.Text(s.Target))
		before, after := text(s.Before), text(s.After)
		if before == after {
			fmt.Fprintf(w, "    %s\n", before)
		} else {
			fmt.Fprintf(w, "  - %s\n  + %s\n", before, after)
		}
	}
	if more := r.Sent + r.Parked - int64(len(r.samples)); len(r.samples) > 0 && more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	if r.dryRun {
		fmt.Fprintln(w, "Dry run, nothing was written")
	} else {
		fmt.Fprintf(w, "Redrive %s\n", r.ID)
	}
	r.Print(w, r.dryRun)
}

// text is a document on one line. JSON has no NaN and no infinity, which a price can be.
func text(document any) string {
	b, err := terminal.JSON(document)
	if err != nil {
		return shown.Text(fmt.Sprint(document))
	}
	return strings.TrimSuffix(string(b), "\n")
}

// writeJSON prints the counts as one document.
func (r *result) writeJSON(w io.Writer) error {
	document := struct {
		redrive.Run
		DryRun      bool                `json:"dry_run"`
		Interrupted bool                `json:"interrupted"`
		WhereFailed dlqredrive.Trouble  `json:"where_failed"`
		NotDecoded  dlqredrive.Trouble  `json:"not_decoded"`
		Targets     []string            `json:"targets"`     // the topics that orders may go to
		To          map[string]int64    `json:"to"`          // letters by where they went
		NotAllowed  map[string]int64    `json:"not_allowed"` // letters by what they name that is no target
		Samples     []dlqredrive.Sample `json:"samples,omitempty"`
	}{r.Run, r.dryRun, r.interrupted, r.Unfiltered, r.Undecoded, r.Targets, r.To, r.NotAllowed, r.samples}
	if document.Refused == nil {
		document.Refused = map[string]int64{}
	}
	for i := range document.Samples {
		s := &document.Samples[i]
		for _, d := range []*any{&s.Before, &s.After} {
			if _, err := json.Marshal(*d); err != nil {
				*d = fmt.Sprint(*d)
			}
		}
	}
	b, err := terminal.JSON(document)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}
