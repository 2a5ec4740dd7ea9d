package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/test/oracle"
)

// nearLimit is a value with which a record with a short key is just below the largest that the
// topic of the orders takes.
const nearLimit = 1_048_470

// oddRecord is a record that a producer may write, and what has to become of it.
type oddRecord struct {
	key     []byte
	value   []byte
	headers []kgo.RecordHeader

	// code is that of the dead letter; empty: it is processed like any other.
	code     string
	stage    string // of the dead letter
	attempts int    // 0: one
	id       string // of the dead letter, and redrives; empty: its own place, and 0
	redrives string
}

// sound is an order that nothing is wrong with, under a name of its own.
func sound(name string) []byte { return avro(orderID(name, false), "Pen", 1.5) }

// priced is an order with that price.
func priced(price float64) []byte { return avro(orderID("priced", false), "Pen", price) }

// sized is an order of so many bytes.
func sized(id string, size int) []byte {
	product := strings.Repeat("x", size-len(avro(id, "", 1.5))-2) // the length takes two bytes more
	return avro(id, product, 1.5)
}

func h(pairs ...string) []kgo.RecordHeader {
	var headers []kgo.RecordHeader
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return headers
}

// posing are headers with the names of the host's and of our own metadata.
func posing() []kgo.RecordHeader {
	return h("kafka_topic", "other", "kafka_partition", "9", "kafka_offset", "99", "kafka_key", "other", "kafka_timestamp_ms", "7",
		"origin", "other/9/99", "attempt", "4", "original_value", "other", "dead_letter", "true", "fallback_error", "other",
		"running_average", "1", "__rpcn_kafka_headers", "other")
}

// posingAsDeadLetter are headers as a dead letter has them.
func posingAsDeadLetter() []kgo.RecordHeader {
	return h("dlq_id", "other/9/99", "dlq_class", "transient", "dlq_code", "other", "dlq_error", "other", "dlq_stage", "other",
		"dlq_attempts", "9", "dlq_topic", "other", "dlq_partition", "9", "dlq_offset", "99", "dlq_group", "other", "dlq_redrives", "0")
}

// repeating are headers that repeat, and values that are no text, or none at all.
func repeating() []kgo.RecordHeader {
	headers := h("trace", "1", "trace", "2", "other", "3", "trace", "1", "", "no name", "bytes", "\x00\xff\xfe", "\xff", "name", "empty", "")
	return append(headers, kgo.RecordHeader{Key: "null"}, kgo.RecordHeader{Key: "null"}, kgo.RecordHeader{Key: "dlq_bytes", Value: []byte("\xff")})
}

// oddRecords are given the ids of three schemas: that of an order, a later version of it, and one
// that is no order.
func oddRecords(plain, later, stranger uint32) map[string]oddRecord {
	decode, validate := "order_decode", "order_validate"
	laterOrder := append(avro(orderID("later", false), "Pen", 1.5), "\x06USD\x00"...) // currency, no tags
	all := map[string]oddRecord{
		"a null value":                         {value: nil, code: "null_value", stage: decode},
		"an empty value":                       {value: []byte{}, code: "empty_value", stage: decode},
		"text instead of Avro":                 {value: []byte("hello, is this thing on?"), code: "decode_failed", stage: decode},
		"bytes that are no text":               {value: []byte{0xff, 0xfe, 0xfd, 0x80, 0x81}, code: "decode_failed", stage: decode},
		"an order that ends early":             {value: sound("short")[:12], code: "decode_failed", stage: decode},
		"an order with a byte too many":        {value: append(sound("long"), 0), code: "decode_failed", stage: decode},
		"a string of absurd length":            {value: []byte{0xfe, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3}, code: "decode_failed", stage: decode},
		"rubbish near the size limit":          {value: bytes.Repeat([]byte{0xff}, nearLimit), code: "decode_failed", stage: decode},
		"an unknown schema id":                 {value: framed(4711, sound("unknown")), code: "unknown_schema_id", stage: decode, attempts: 4},
		"an unknown id near the size limit":    {value: framed(4711, sized("unknown-large", nearLimit-5)), code: "unknown_schema_id", stage: decode, attempts: 4},
		"a frame with nothing in it":           {value: framed(plain, nil), code: "decode_failed", stage: decode},
		"a frame with a broken record":         {value: framed(plain, sound("framed-short")[:12]), code: "decode_failed", stage: decode},
		"a frame of a schema that is no order": {value: framed(stranger, []byte("\x06Pen")), code: "schema_incompatible", stage: decode},
		"a price of 0":                         {value: priced(0), code: "price_not_positive", stage: validate},
		"a price of -0":                        {value: priced(math.Copysign(0, -1)), code: "price_not_positive", stage: validate},
		"a negative price":                     {value: priced(-1.5), code: "price_not_positive", stage: validate},
		"a price of NaN":                       {value: priced(math.NaN()), code: "price_not_finite", stage: validate},
		"an infinite price":                    {value: priced(math.Inf(1)), code: "price_not_finite", stage: validate},
		"a negative infinite price":            {value: priced(math.Inf(-1)), code: "price_not_finite", stage: validate},
		"a price above the maximum":            {value: priced(1_000_000.01), code: "price_above_maximum", stage: validate},
		"an empty order id":                    {value: avro("", "Pen", 1.5), code: "order_id_missing", stage: validate},
		"a blank order id":                     {value: avro(" \t", "Pen", 1.5), code: "order_id_missing", stage: validate},
		"an empty product":                     {value: avro(orderID("no-product", false), "", 1.5), code: "product_missing", stage: validate},
		"an empty order id in a frame":         {value: framed(plain, avro("", "Pen", 1.5)), code: "order_id_missing", stage: validate},
		"a bad price near the size limit":      {value: append(sized(orderID("large-bad", false), nearLimit)[:nearLimit-8], make([]byte, 8)...), code: "price_not_positive", stage: validate},
		"more than the processed topic takes":  {value: sized(orderID("large", false), nearLimit), code: "output_refused", stage: "output"},
		"a failure near the size limit":        {value: sized(orderID("large-fails", true), nearLimit), code: "simulated_failure", stage: validate, attempts: 4},

		"a null key and a bad price":           {key: nil, value: priced(0), code: "price_not_positive", stage: validate},
		"an empty key and a bad price":         {key: []byte{}, value: priced(0), code: "price_not_positive", stage: validate},
		"a binary key and a bad price":         {key: []byte{0, 0xff, 0x80}, value: priced(0), code: "price_not_positive", stage: validate},
		"odd headers and a bad price":          {value: priced(0), headers: repeating(), code: "price_not_positive", stage: validate},
		"posing headers and a bad price":       {value: priced(0), headers: posing(), code: "price_not_positive", stage: validate},
		"dead-letter headers and a bad price":  {value: priced(0), headers: posingAsDeadLetter(), code: "price_not_positive", stage: validate},
		"repeated dead-letter headers":         {value: priced(0), headers: h("dlq_class", "other", "a", "b", "dlq_class", "permanent", "dlq_id", "x"), code: "price_not_positive", stage: validate},
		"odd headers and broken Avro":          {value: []byte("hello"), headers: slices.Concat(repeating(), posing()), code: "decode_failed", stage: decode},
		"odd headers, a null key and a wait":   {key: nil, value: avro(orderID("fails", true), "Pen", 1.5), headers: slices.Concat(repeating(), posing()), code: "simulated_failure", stage: validate, attempts: 4},
		"a null header of somebody's own dlq_": {value: priced(0), headers: []kgo.RecordHeader{{Key: "dlq_own"}, {Key: "trace", Value: []byte("1")}}, code: "price_not_positive", stage: validate},
		"a header near the size limit":         {value: priced(0), headers: h("large", strings.Repeat("\xff", 1_000_000)), code: "price_not_positive", stage: validate},
		"a redriven order that fails again":    {value: priced(0), headers: h("dlq_id", "orders/5/42", "trace", "1", "dlq_redrives", "2"), code: "price_not_positive", stage: validate, id: "orders/5/42", redrives: "2"},
		"headers of a redrive without the id":  {value: priced(0), headers: h("dlq_redrives", "2"), code: "price_not_positive", stage: validate},
		"an id that is not UTF-8 is no string": {value: avro("id-\xff", "Pen", 1.5), code: "decode_failed", stage: decode},

		"a sound order":                         {value: sound("sound")},
		"a sound order in a frame":              {value: framed(plain, sound("framed"))},
		"a sound order of a later schema":       {value: framed(later, laterOrder)},
		"a null key":                            {key: nil, value: sound("null-key")},
		"an empty key":                          {key: []byte{}, value: sound("empty-key")},
		"a binary key":                          {key: []byte{0, 0xff, 0x80}, value: sound("binary-key")},
		"an order id":                           {value: sound("repeated")},
		"the same order id again":               {value: sound("repeated")},
		"headers that repeat or are no text":    {value: sound("repeating"), headers: repeating()},
		"headers named like metadata":           {value: sound("posing"), headers: posing()},
		"headers named like those of the DLQ":   {value: sound("posing-dlq"), headers: posingAsDeadLetter()},
		"a redriven order that passes":          {value: sound("redriven"), headers: h("dlq_id", "orders/5/42", "dlq_redrives", "1")},
		"the smallest price":                    {value: priced(math.SmallestNonzeroFloat64)},
		"the highest price that is allowed":     {value: priced(1_000_000)},
		"a product with line breaks and quotes": {value: avro(orderID("quotes", false), "\"Pen\"\n\u2028<b>\x00", 1.5)},
		"a large order":                         {value: sized(orderID("large-sound", false), 1_000_000)},
	}
	for name, r := range all {
		if r.key == nil && !strings.Contains(name, "null key") {
			r.key = []byte("key")
		}
		all[name] = r
	}
	return all
}

// No record may harm another, and what is said of a record is true whatever it claims of itself.
func TestOddRecordsEachHaveTheirOutcomeAndSpoilNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	registry := startRegistry(t, "127.0.0.1:0")
	later := register(t, registry, "config/schemas/history/order_v3.avsc")
	plain := register(t, registry, "config/schemas/order.avsc")
	stranger := registerText(t, registry, "strangers-value", `"string"`)

	odd := oddRecords(plain, later, stranger)
	names := make([]string, 0, len(odd))
	for name := range odd {
		names = append(names, name)
	}
	slices.Sort(names)
	records := make([]*kgo.Record, len(names))
	for i, name := range names {
		r := odd[name]
		// Half of them share a partition, so that bad and good ones share batches.
		records[i] = &kgo.Record{Topic: "orders", Key: r.key, Value: r.value, Headers: slices.Clone(r.headers), Partition: int32(max(0, i%12-6))}
	}
	w.produce(records...)

	p := w.run(consumer, map[string]string{"SCHEMA_REGISTRY_URL": registry.URL()})
	report := w.await(oracle.Config{}, len(records))
	outcomes := map[string]*kgo.Record{}
	for _, topic := range []string{"orders-processed", "orders-dlq"} {
		for _, r := range w.committed(topic) {
			place := outcomePlace(t, r)
			require.NotContains(t, outcomes, place, "two outcomes")
			outcomes[place] = r
		}
	}
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			got, ok := outcomes[place(records[i])]
			require.True(t, ok, "no outcome")
			require.Equal(t, records[i].Key, got.Key, "the key, and null is not empty")
			if odd[name].code == "" {
				require.Equal(t, "orders-processed", got.Topic)
				checkOddProcessed(t, records[i], got)
				return
			}
			require.Equal(t, "orders-dlq", got.Topic)
			checkOddDeadLetter(t, odd[name], records[i], got)
		})
	}

	require.True(t, w.audit().OK)
	run := orderflow(t, w.env(nil), "aggregates", "--json")
	var sums oracle.Aggregates
	require.NoError(t, json.Unmarshal([]byte(run.stdout), &sums), run.stderr)
	require.Equal(t, report.Aggregates.Overall, sums.Overall, "the processed orders and no others")
	require.NoError(t, p.Terminate(patience))
}

// outcomePlace is where the order of an outcome was. Of a redriven one, dlq_id says otherwise.
func outcomePlace(t *testing.T, r *kgo.Record) string {
	t.Helper()
	if r.Topic == "orders-processed" {
		return header(t, r, "origin")
	}
	return last(r, "dlq_topic") + "/" + last(r, "dlq_partition") + "/" + last(r, "dlq_offset")
}

// last is the value of a header that counts where an order came with one of the same name.
func last(r *kgo.Record, name string) string {
	value := ""
	for _, h := range r.Headers {
		if h.Key == name {
			value = string(h.Value)
		}
	}
	return value
}

func checkOddProcessed(t *testing.T, from, got *kgo.Record) {
	t.Helper()
	require.Len(t, got.Headers, 1)
	require.Equal(t, place(from), header(t, got, "origin"))
	var doc struct {
		OrderID *string
		Product *string
		Price   *float64
	}
	require.NoError(t, json.Unmarshal(got.Value, &doc))
	require.Contains(t, string(from.Value), string(avro(*doc.OrderID, *doc.Product, *doc.Price)))
}

func checkOddDeadLetter(t *testing.T, odd oddRecord, from, got *kgo.Record) {
	t.Helper()
	require.True(t, bytes.Equal(from.Value, got.Value), "the original bytes")
	require.Equal(t, from.Value == nil, got.Value == nil, "null stays null")

	var own, original []kgo.RecordHeader
	for _, h := range from.Headers {
		if !deadletter.IsOurs(h.Key) {
			own = append(own, h)
		}
	}
	for _, h := range got.Headers {
		if !deadletter.IsOurs(h.Key) {
			original = append(original, h)
		}
	}
	require.Equal(t, len(own), len(original), "headers: %q", keysOf(original))
	for i := range own {
		require.Equal(t, own[i].Key, original[i].Key, "header %d", i)
		require.True(t, bytes.Equal(own[i].Value, original[i].Value), "header %q", own[i].Key)
		require.Equal(t, own[i].Value == nil, original[i].Value == nil, "header %q: null stays null", own[i].Key)
	}

	want := map[string]string{
		"dlq_id":        place(from),
		"dlq_class":     "permanent",
		"dlq_code":      odd.code,
		"dlq_stage":     odd.stage,
		"dlq_attempts":  "1",
		"dlq_topic":     "orders",
		"dlq_partition": strconv.Itoa(int(from.Partition)),
		"dlq_offset":    strconv.FormatInt(from.Offset, 10),
		"dlq_timestamp": from.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"),
		"dlq_group":     "orderflow",
		"dlq_redrives":  "0",
	}
	if odd.attempts > 1 {
		want["dlq_class"] = "transient"
		want["dlq_attempts"] = fmt.Sprint(odd.attempts)
		checkWaits(t, strings.Split(last(got, "dlq_attempt_times"), ","))
	}
	if odd.id != "" {
		want["dlq_id"], want["dlq_redrives"] = odd.id, odd.redrives
	}
	for name, value := range want {
		require.Equal(t, value, last(got, name), name)
	}
	require.NotEmpty(t, last(got, "dlq_error"))
	require.Equal(t, last(got, "dlq_attempt_times")[:24], last(got, "dlq_first_failed_at"))
}

func keysOf(headers []kgo.RecordHeader) []string {
	all := make([]string, len(headers))
	for i, h := range headers {
		all[i] = h.Key
	}
	return all
}
