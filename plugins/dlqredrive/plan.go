package dlqredrive

import (
	"fmt"
	"slices"
	"time"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/redrive"
)

// The reasons for which a letter that was chosen is not sent. Where a processor rejects the
// mended order, the reason is the code of its error.
const (
	reasonNoOrigin    = "origin_unknown"
	reasonOtherTarget = "target_not_origin"
	reasonNotAllowed  = "target_not_allowed"
	reasonNoTarget    = "target_missing"
	reasonMapFailed   = "map_failed"
	reasonMapDeleted  = "map_deleted"
	reasonTopic       = "output_refused"
)

// plan says which dead letters are meant, and where to each goes.
type plan struct {
	ids         map[string]bool // empty: all
	targets     []string        // the topics of orders, to which letters may go; none where nothing is sent, since there is no output
	target      string          // empty: the topic that each came from
	allowOther  bool            // whether the target may be another topic than that
	maxRedrives int
	letters     string // the dead-letter topic
	parking     string
	state       string // the state topic of the consumer; empty: not known
}

// check returns an error that names the first field by which a letter or its order would go to a
// topic that holds something else.
func (p *plan) check() error {
	if len(p.targets) == 0 && p.target == "" {
		return fmt.Errorf("field %s: is empty: name the topics that orders are read from, or a %s", fieldTargets, fieldTarget)
	}
	taken := map[string]string{}
	if p.state != "" {
		taken[p.state] = "state topic"
	}
	taken[p.letters], taken[redrive.Topic(p.letters)] = "dead-letter topic", "redrive topic"
	if what := taken[p.parking]; what != "" {
		return fmt.Errorf("field %s: %q is the %s", fieldParkingTopic, p.parking, what)
	}
	taken[p.parking] = "parking topic"
	for _, topic := range p.targets {
		if what := taken[topic]; what != "" {
			return fmt.Errorf("field %s: %q is the %s: want topics that orders are read from", fieldTargets, topic, what)
		}
	}
	if what := taken[p.target]; what != "" {
		return fmt.Errorf("field %s: %q is the %s: want a topic that orders are read from", fieldTarget, p.target, what)
	}
	return nil
}

// route is where a letter goes, or why it goes nowhere.
type route struct {
	topic  string
	parked bool
	reason string
	err    error
}

// means tells whether a letter is one of those that were named, by its id or by where it is in
// the dead-letter topic.
func (p *plan) means(id, place string) bool {
	return len(p.ids) == 0 || p.ids[id] || p.ids[place]
}

// route decides where a letter goes. One that was sent again too often is parked, wherever it
// came from. One without its record is left where it is: a null record would be sent.
func (p *plan) route(letter deadletter.Letter, noRecord bool) route {
	switch {
	case letter.Redrives >= p.maxRedrives:
		return route{topic: p.parking, parked: true}
	case noRecord:
		return route{reason: letters.CodeNoRecord, err: letters.ErrNoRecord(letter)}
	case p.target == "" && letter.Topic == "":
		return route{reason: reasonNoOrigin, err: fmt.Errorf("the letter does not say which topic it came from: name a target")}
	case p.target != "" && p.target == letter.Topic:
		return route{topic: p.target}
	case p.target == "" && len(p.targets) > 0 && !slices.Contains(p.targets, letter.Topic):
		return route{topic: letter.Topic, reason: reasonNotAllowed, err: fmt.Errorf("topic %q is not one of %s", letter.Topic, fieldTargets)}
	case p.target == "":
		return route{topic: letter.Topic}
	case letter.Topic != "" && !p.allowOther:
		return route{reason: reasonOtherTarget, err: fmt.Errorf("target %q is not the topic %q that the letter came from: allow another target, or name none", p.target, letter.Topic)}
	default:
		return route{topic: p.target}
	}
}

// pace spaces out what is sent.
type pace struct {
	every time.Duration // 0: as fast as it goes
	next  time.Time
}

// newPace makes a pace of so many a second; 0 is no bound.
func newPace(rate float64) pace {
	if rate == 0 {
		return pace{}
	}
	return pace{every: time.Duration(float64(time.Second) / rate)}
}

// wait is how long after now the next may be sent.
func (p *pace) wait(now time.Time) time.Duration { return max(0, p.next.Sub(now)) }

// take notes that one is sent now.
func (p *pace) take(now time.Time) { p.next = now.Add(p.every) }
