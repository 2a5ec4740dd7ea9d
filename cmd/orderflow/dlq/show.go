package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/exit"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/order"
)

const flagMaxPrice = "max-price"

func showCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "Show all that is known of one dead letter",
		ArgsUsage: "ID",
		Description: `ID is the dlq_id, as "dlq list" shows it, or the place of the letter itself: TOPIC/PARTITION/OFFSET
of the dead-letter topic. Of several letters with one dlq_id (an order that was sent again, and failed
again) the newest is shown, and all are listed.

  orderflow dlq show orders/0/17
  orderflow dlq show orders-dlq/3/5 --json

It shows the headers, the attempts and the waits between them, the order beside its bytes, whether it
was sent again, and what the rules of order_validate say of it now.

Exit status: 0 if it was found, 1 if not or if it could not be read, 2 for a wrong call.`,
		Flags: flags(
			&cli.Float64Flag{Name: flagMaxPrice, Usage: "the highest price that the rules allow", Value: 1_000_000},
			&cli.BoolFlag{Name: flagJSON, Usage: "print one JSON document"},
		),
		Action: runShow,
	}
}

func runShow(c *cli.Context) error {
	args, err := exit.Arguments(c)
	if err != nil {
		return err
	}
	if len(args) != 1 || args[0] == "" {
		return exit.Usage(c, fmt.Errorf("%d arguments, expected one ID", len(args)))
	}
	topic, kafka, err := source(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration(flagTimeout))
	defer cancel()
	found, err := find(ctx, topic, args[0])
	if err != nil {
		return fmt.Errorf("showing dead letter %s on %s: %w", args[0], kafka, err)
	}
	found.rule = judge(found.letter, c.Float64(flagMaxPrice))
	if c.Bool(flagJSON) {
		return found.writeJSON(c.App.Writer)
	}
	return found.write(c.App.Writer)
}

// sighting is a dead letter and all others of its order.
type sighting struct {
	letter *letters.Letter
	all    []*letters.Letter // oldest first, the letter itself included
	rule   verdict
}

// verdict is what the current rules say of an order: a code and a text, or that it passes.
type verdict struct {
	passes     bool
	code, text string
}

// judge asks the rules that order_validate has.
func judge(l *letters.Letter, maxPrice float64) verdict {
	err := l.Undecodable
	if l.Order != nil {
		err = order.Validate(*l.Order, maxPrice)
	}
	if err == nil {
		return verdict{passes: true}
	}
	_, code := failure.Of(err)
	return verdict{code: code, text: err.Error()}
}

// find returns the letter of this id or at this place.
func find(ctx context.Context, topic letters.Topic, id string) (*sighting, error) {
	// One reading may not be enough: that a letter is meant by its place shows when it comes, and
	// others with its id may have come before.
	all, err := choose(ctx, topic, func(l *letters.Letter) bool { return l.ID == id || l.Place.String() == id })
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(l *letters.Letter) bool { return l.Place.String() == id })
	if at < 0 {
		if len(all) == 0 {
			return nil, errors.New("there is no such letter")
		}
		return &sighting{letter: all[len(all)-1], all: all}, nil
	}
	letter := all[at]
	all, err = choose(ctx, topic, func(l *letters.Letter) bool { return l.ID == letter.ID })
	return &sighting{letter: letter, all: all}, err
}

// choose returns the letters that a function wants, oldest first.
func choose(ctx context.Context, topic letters.Topic, want func(*letters.Letter) bool) ([]*letters.Letter, error) {
	var all []*letters.Letter
	err := topic.Read(ctx, func(l *letters.Letter) error {
		if want(l) {
			all = append(all, l)
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b *letters.Letter) int { return a.Record.Timestamp.Compare(b.Record.Timestamp) })
	return all, err
}
