package dlq

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/triage"
)

const (
	flagAll   = "all"
	flagWhere = "where"

	// maxGroups bounds what a list has to remember, and a person to read.
	maxGroups = 1000
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "List the open dead letters by their causes",
		Description: `Groups the dead letters that were not sent again yet: those of one cause have the same class,
code and error, but for numbers, ids and the like. The largest group comes first.

  orderflow dlq list
  orderflow dlq list --all --where 'this.price > 100'
  orderflow dlq list --where '@dlq_code == "price_not_positive"' --json

--where is Bloblang: "this" is the decoded order, null where it cannot be decoded, and "@" are the
headers; dlq_… are there whatever system wrote the letter. A letter on which it fails is left out.
Where the schema registry gives no answer, letters are listed without their orders.

What can be done about a group:
  send again   the cause may have passed
  mend         the order is at fault and can be read: a mapping can mend it
  wait         a topic, the registry or its address has to change first
  none         it has no order that can be read: its producer has to send another one
  look         the system that wrote it gave no class: look at one with "dlq show"

Exit status: 0 if they could be read, 1 if not, 2 for a wrong call.`,
		Flags: flags(
			&cli.BoolFlag{Name: flagAll, Usage: "list each dead letter"},
			&cli.StringFlag{Name: flagWhere, Usage: "only dead letters of which this `QUERY` is true"},
			&cli.BoolFlag{Name: flagJSON, Usage: "print one JSON document"},
		),
		Action: runList,
	}
}

func runList(c *cli.Context) error {
	topic, kafka, err := source(c)
	if err != nil {
		return err
	}
	l := newList(c.Bool(flagAll))
	if text := c.String(flagWhere); text != "" {
		if l.where, err = letters.ParseFilter(text); err != nil {
			return exit.Usage(c, fmt.Errorf("flag --%s: %w", flagWhere, err))
		}
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration(flagTimeout))
	defer cancel()
	if err := topic.Read(ctx, l.add); err != nil {
		return fmt.Errorf("listing dead letters on %s: %w", kafka, err)
	}
	if l.failed > 0 {
		fmt.Fprintf(c.App.ErrWriter, "--%s failed on %d dead letters, which are left out; the first: %v\n", flagWhere, l.failed, shown.Err(l.failure))
	}
	if l.unanswered > 0 {
		fmt.Fprintf(c.App.ErrWriter, "%d dead letters are listed without their orders, which cannot be decoded now; the first: %v\n", l.unanswered, shown.Err(l.silence))
	}
	if c.Bool(flagJSON) {
		return l.writeJSON(c.App.Writer)
	}
	return l.write(c.App.Writer, topic.Name)
}

// list collects open dead letters.
type list struct {
	where   *letters.Filter // nil: all
	groups  *triage.Groups
	singles []single // only if each is asked for
	each    bool

	// failed is on how many the filter failed, failure how on the first.
	failed  int
	failure error
	// unanswered is how many cannot be decoded since the schema registry gives no answer, silence
	// how it does not on the first.
	unanswered int
	silence    error
}

// single is what is kept of one letter: not its record, which may be large.
type single struct {
	letters.Letter
	Group *triage.Group
	at    time.Time
}

func newList(each bool) *list { return &list{groups: triage.NewGroups(maxGroups), each: each} }

func (l *list) add(letter *letters.Letter) error {
	if !letter.Open() {
		return nil
	}
	if failure.Unavailable(letter.Undecodable) {
		if l.unanswered++; l.unanswered == 1 {
			l.silence = letter.Undecodable
		}
	}
	if l.where != nil {
		yes, err := l.where.Matches(letter)
		if err != nil {
			if l.failed++; l.failed == 1 {
				l.failure = err
			}
			return nil
		}
		if !yes {
			return nil
		}
	}
	group, _ := l.groups.Add(entry(letter))
	if l.each {
		kept := *letter
		kept.Record = nil
		l.singles = append(l.singles, single{kept, group, letter.At()})
	}
	return nil
}

// entry is a letter as a group sees it.
func entry(l *letters.Letter) triage.Entry {
	e := triage.Entry{Class: l.Class, Code: l.Code, Text: l.Error, At: l.At(), Name: l.ID, Decodable: l.Order != nil, NoRecord: l.NoRecord}
	if l.Order != nil {
		e.Value, e.HasValue = worth(*l.Order)
	}
	return e
}

// worth is the value of an order, if its price is a number.
func worth(o order.Order) (aggregate.Decimal, bool) {
	d, err := aggregate.FromFloat(o.Price)
	return d, err == nil
}
