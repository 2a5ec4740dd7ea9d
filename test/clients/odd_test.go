package clients

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const processed = "processed"

// outcomes says what becomes of the odd records of produce.py: processed, or a dead letter with
// that code, which is permanent but for an unknown schema id. Those with "near the limit" and "large value" in their names
// become what they would become without.
var outcomes = map[string]string{
	"null value":                   "null_value",
	"empty value":                  "empty_value",
	"broken Avro":                  "decode_failed",
	"truncated Avro":               "decode_failed",
	"bytes after the record":       "decode_failed",
	"no Avro but JSON":             "decode_failed",
	"frame without a record":       "decode_failed",
	"frame with broken Avro":       "decode_failed",
	"unknown schema id":            "unknown_schema_id",
	"price 0":                      "price_not_positive",
	"price -0":                     "price_not_positive",
	"framed, price 0":              "price_not_positive",
	"price negative":               "price_not_positive",
	"price NaN":                    "price_not_finite",
	"price infinite":               "price_not_finite",
	"price minus infinite":         "price_not_finite",
	"no order id":                  "order_id_missing",
	"no product":                   "product_missing",
	"price 0, odd key and headers": "price_not_positive",
	"price 0, null key":            "price_not_positive",
	"price 0, empty key":           "price_not_positive",
	"price 0, lying headers":       "price_not_positive",
	"sound":                        processed,
	"sound, repeated order id":     processed,
	"sound, null key":              processed,
	"sound, empty key":             processed,
	"sound, binary key":            processed,
	"sound, headers repeat":        processed,
	"sound, headers not UTF-8":     processed,
	"sound, lying headers":         processed,
	"sound, large":                 processed,
	"sound, not ASCII":             processed,
	"sound, framed":                processed,
}

func TestOddRecordsBecomeWhatTheyShould(t *testing.T) {
	forEachConsumer(t, oddRecords)
}

func oddRecords(t *testing.T, pipeline string) {
	s := newSystem(t, pipeline, map[string]string{"FAILURE_RATE": "0"})
	consumer := s.run(pipeline)
	var written []Record
	if pipeline == atLeastOnce {
		written = s.produce("odd", "--honest") // it believes headers that are named like its metadata
		s.await(consumer, len(written))
	} else {
		written = s.produce("odd")
		require.NoError(t, s.await(consumer, len(written)).ExactlyOnce())
	}
	require.NoError(t, consumer.Terminate(20*time.Second), "the process lives")

	letters, results := map[string]Record{}, map[string]Record{}
	for _, r := range s.read("orders-dlq") {
		topic, _ := r.Last("dlq_topic")
		partition, _ := r.Last("dlq_partition")
		offset, _ := r.Last("dlq_offset")
		letters[topic+"/"+partition+"/"+offset] = r
	}
	for _, r := range s.read("orders-processed") {
		require.Len(t, r.All("origin"), 1)
		results[r.All("origin")[0]] = r
	}

	seen := map[string]bool{}
	for _, source := range written {
		t.Run(source.Name, func(t *testing.T) {
			name := strings.NewReplacer(", near the limit", "", ", large value", "").Replace(source.Name)
			want, ok := outcomes[name]
			require.True(t, ok, "a record that the table lacks")
			seen[name] = true

			if want == processed {
				require.NotContains(t, letters, source.Origin())
				require.Contains(t, results, source.Origin())
				requireKey(t, pipeline, source, results[source.Origin()])
				require.Empty(t, results[source.Origin()].All("dlq_id"))
				return
			}
			require.NotContains(t, results, source.Origin())
			require.Contains(t, letters, source.Origin())
			letter := letters[source.Origin()]
			requireContract(t, letter)
			class, _ := letter.Last("dlq_class")
			code, _ := letter.Last("dlq_code")
			if want == "unknown_schema_id" { // the registry may learn of it
				require.Equal(t, "transient "+want, class+" "+code)
			} else {
				require.Equal(t, "permanent "+want, class+" "+code)
			}
			requireKey(t, pipeline, source, letter)
			require.Equal(t, source.Value, letter.Value)
			requireHeaders(t, pipeline, source, letter)
		})
	}
	for name := range outcomes {
		require.True(t, seen[name] || pipeline == atLeastOnce && strings.Contains(name, "lying"), "produce.py wrote no %q", name)
	}
}

func requireKey(t *testing.T, pipeline string, source, outcome Record) {
	t.Helper()
	if pipeline == atLeastOnce {
		require.Equal(t, string(source.Key), string(outcome.Key))
		return
	}
	require.Equal(t, source.Key, outcome.Key)
}

func requireHeaders(t *testing.T, pipeline string, source, letter Record) {
	t.Helper()
	if pipeline == atLeastOnce {
		for _, h := range source.Headers {
			require.NotEmpty(t, letter.All(h.Name), h.Name)
		}
		return
	}
	require.Equal(t, withoutOurs(source.Headers), withoutOurs(letter.Headers), "the original headers")
}

// withoutOurs are the headers that a dead letter does not set itself.
func withoutOurs(headers []Header) []Header {
	var others []Header
	for _, h := range headers {
		if !strings.HasPrefix(h.Name, "dlq_") {
			others = append(others, h)
		}
	}
	return others
}
