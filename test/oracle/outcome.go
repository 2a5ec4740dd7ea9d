package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// takeProcessed judges a processed order.
func (o *Oracle) takeProcessed(r *kgo.Record) {
	text, _ := lastHeader(r, "origin")
	of, err := parseOrigin(text)
	if err != nil {
		o.find(&o.report.Malformed, "%s: header origin: %v", at(r), err)
		return
	}
	if o.outcome(r, of) == nil {
		return
	}
	var body struct {
		OrderID *string      `json:"orderId"`
		Product *string      `json:"product"`
		Price   *json.Number `json:"price"`
	}
	if err := json.Unmarshal(r.Value, &body); err != nil {
		o.find(&o.report.Malformed, "%s: %v", at(r), err)
		return
	}
	if body.OrderID == nil || body.Product == nil || body.Price == nil {
		o.find(&o.report.Malformed, "%s lacks a field: %s", at(r), r.Value)
		return
	}
	price, ok := new(big.Rat).SetString(body.Price.String())
	if !ok {
		o.find(&o.report.Malformed, "%s: price %s is no decimal", at(r), *body.Price)
		return
	}
	for _, group := range []string{overall, groupPrefix + *body.Product} {
		if o.sums[group] == nil {
			o.sums[group] = &aggregate{}
		}
		o.sums[group].add(price)
	}
}

// takeDeadLetter judges a dead letter.
func (o *Oracle) takeDeadLetter(r *kgo.Record) {
	of, err := deadLetterOrigin(r)
	if err != nil {
		o.find(&o.report.Malformed, "%s: %v", at(r), err)
		return
	}
	known := o.outcome(r, of)
	if known == nil {
		return
	}
	if known.value != o.hash(r.Value) {
		o.find(&o.report.Altered, "%s has not the value of %s", at(r), of)
	}
	if !o.config.IgnoreHeaders && known.headers != o.hashHeaders(r.Headers) {
		o.find(&o.report.AlteredHeaders, "%s has not the headers of %s", at(r), of)
	}
	for _, name := range []string{"dlq_class", "dlq_code", "dlq_error", "dlq_stage"} {
		if text, ok := lastHeader(r, name); !ok || text == "" {
			o.find(&o.report.Malformed, "%s lacks header %s", at(r), name)
		}
	}
	class, _ := lastHeader(r, "dlq_class")
	code, _ := lastHeader(r, "dlq_code")
	o.report.Classes[class]++
	o.report.Codes[code]++
	if err := o.judgeAttempts(r, class); err != nil {
		o.find(&o.report.Malformed, "%s: %v", at(r), err)
	}
}

// judgeAttempts checks how often an order was tried, and when.
func (o *Oracle) judgeAttempts(r *kgo.Record, class string) error {
	text, _ := lastHeader(r, "dlq_attempts")
	attempts, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("header dlq_attempts: %w", err)
	}
	var times []time.Time
	if list, _ := lastHeader(r, "dlq_attempt_times"); list != "" {
		for text := range strings.SplitSeq(list, ",") {
			at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(text))
			if err != nil {
				return fmt.Errorf("header dlq_attempt_times: %w", err)
			}
			times = append(times, at)
		}
	}
	if len(times) != attempts {
		return fmt.Errorf("dlq_attempts is %d, dlq_attempt_times has %d", attempts, len(times))
	}
	switch most := 1 + len(o.config.Waits); {
	case attempts > most:
		o.find(&o.report.TooManyAttempts, "%s was tried %d times", at(r), attempts)
		return nil
	case class == "transient" && attempts < most:
		o.find(&o.report.GivenUpEarly, "%s was given up after attempt %d", at(r), attempts)
	}
	for i := 1; i < len(times); i++ {
		over := times[i].Sub(times[i-1]) - o.config.Waits[i-1]
		o.overs[i-1] = append(o.overs[i-1], over)
		if over < 0 {
			o.find(&o.report.EarlyRetries, "%s: retry %d came %v too early", at(r), i, -over)
		}
	}
	return nil
}

// deadLetterOrigin reads where a dead letter comes from. Not from dlq_id: that of a redriven
// order names the record that failed first.
func deadLetterOrigin(r *kgo.Record) (origin, error) {
	topic, _ := lastHeader(r, "dlq_topic")
	partition, _ := lastHeader(r, "dlq_partition")
	offset, _ := lastHeader(r, "dlq_offset")
	return parseOrigin(topic + "/" + partition + "/" + offset)
}

// parseOrigin parses topic/partition/offset.
func parseOrigin(text string) (origin, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || parts[0] == "" {
		return origin{}, fmt.Errorf("%q is not topic/partition/offset", text)
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	offset, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return origin{}, fmt.Errorf("%q is not topic/partition/offset: %w", text, err)
	}
	return origin{parts[0], int32(partition), offset}, nil
}

// lastHeader is the header that counts where a name repeats: ours come after the order's own.
func lastHeader(r *kgo.Record, name string) (string, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return string(r.Headers[i].Value), true
		}
	}
	return "", false
}
