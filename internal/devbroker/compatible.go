package devbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/sr"
)

// compatible says why a schema must not follow the earlier versions of its subject at a level of
// compatibility, or nil.
func compatible(level sr.CompatibilityLevel, canRead CanRead, schema string, earlier []stored) error {
	var backward, forward bool
	switch level {
	case sr.CompatBackward, sr.CompatBackwardTransitive:
		backward = true
	case sr.CompatForward, sr.CompatForwardTransitive:
		forward = true
	case sr.CompatFull, sr.CompatFullTransitive:
		backward, forward = true, true
	}
	switch level {
	case sr.CompatBackward, sr.CompatForward, sr.CompatFull:
		// Only the transitive levels look beyond the latest version.
		earlier = earlier[max(0, len(earlier)-1):]
	}
	for _, old := range earlier {
		if backward {
			if err := canRead(schema, old.Schema); err != nil {
				return fmt.Errorf("level %s: reading data of version %d with it: %w", level, old.Version, err)
			}
		}
		if forward {
			if err := canRead(old.Schema, schema); err != nil {
				return fmt.Errorf("level %s: reading its data with version %d: %w", level, old.Version, err)
			}
		}
	}
	return nil
}
