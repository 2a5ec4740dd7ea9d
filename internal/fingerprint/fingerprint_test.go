package fingerprint

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPatterns(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"ours: retries used up", "Max retries exceeded: Simulated processing failure", "Max retries exceeded: Simulated processing failure"},
		{"ours: a rule, with an order id", `validating order "order-000001-000042": field price: -5.5 is not above 0`, "validating order *: field price: * is not above *"},
		{"ours: an id with a quote in it", `validating order "a\"b": field price: 0 is not above 0`, "validating order *: field price: * is not above *"},
		{"ours: a long id, shortened", `validating order "` + strings.Repeat("x", 64) + `"… (1048576 bytes): field product: must not be empty or blank`, "validating order *: field product: must not be empty or blank"},
		{"ours: no finite number", `validating order "a": field price: +Inf is no finite number`, "validating order *: field price: * is no finite number"},
		{"ours: broken Avro", "decoding order: 24 bytes: field orderId: unexpected end", "decoding order: * bytes: field orderId: unexpected end"},
		{"ours: a schema id", "decoding order: 29 bytes: schema id 4711 is not known to the registry: Schema not found", "decoding order: * bytes: schema id * is not known to the registry: Schema not found"},
		{"ours: a record that is too large", "record of 2097152 bytes is too large for topic orders-processed, whose max.message.bytes is 1048588", "record of * bytes is too large for topic orders-processed, whose max.message.bytes is *"},
		{"a UUID", "no customer 6ba7b810-9dad-11d1-80b4-00c04fd430c8", "no customer *"},
		{"an upper-case UUID in braces", "no customer {6BA7B810-9DAD-11D1-80B4-00C04FD430C8}.", "no customer {*}."},
		{"hex", "digest 0xCAFEBABE differs from deadbeefcafe", "digest * differs from *"},
		{"a word of letters that hex has too", "facade added, bad cafe", "facade added, bad cafe"},
		{"RFC 3339", "deadline 2026-11-22T09:00:00.123Z exceeded", "deadline * exceeded"},
		{"a time with a space", "not before 2026-11-22 09:00:00,123 +0100!", "not before *!"},
		{"a time of mail", "expired on Sun, 22 Nov 2026 09:00:00 GMT", "expired on * GMT"},
		{"a month that is no time", "May I ask", "May I ask"},
		{"an address", "dial tcp 10.1.2.3:5432: connect: connection refused", "dial tcp *: connect: connection refused"},
		{"an IPv6 address", "dial tcp [fe80::1%eth0]:5432: i/o timeout", "dial tcp [*]*: i/o timeout"},
		{"a URL", "Get https://stock.example/reserve?sku=a: context deadline exceeded", "Get *=a: context deadline exceeded"},
		{"a path", "open /var/lib/stock/items.db: permission denied", "open *: permission denied"},
		{"a path of Windows", `open C:\stock\items.db: Access is denied.`, "open *: Access is denied."},
		{"one slash is a word", "read/write of and/or", "read/write of and/or"},
		{"a mail address", "no account of jane.doe@example.com", "no account of *"},
		{"durations", "timeout after 1m30.5s (limit 30s)", "timeout after * (limit *)"},
		{"a list of any length", "unknown items [1, 22, 333; 4]", "unknown items [*]"},
		{"a list of quoted values", `no such fields "a", "b"`, "no such fields *"},
		{"single quotes and an apostrophe", "can't find 'Desk Lamp' in Bob's list", "can't find * in Bob's list"},
		{"backticks", "field `price` missing", "field * missing"},
		{"a quote that never ends", `unexpected " in text`, `unexpected " in text`},
		{"Java", "java.lang.IllegalStateException: Listener method 'public void shop.Orders.on(java.lang.String)' threw exception", "java.lang.IllegalStateException: Listener method * threw exception"},
		{"Java, an object", "Cannot cast shop.Order@1f3a to java.lang.String", "Cannot cast * to java.lang.String"},
		{"Python", "KeyError: 'sku-17' (line 42)", "KeyError: * (line *)"},
		{"SQL", `ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE 23505)`, "ERROR: duplicate key value violates unique constraint * (SQLSTATE *)"},
		{"JSON", `{"status":503,"msg":"busy"}`, "{*:*}"},
		{"several lines", "first\n\tat line 7\r\n\n", "first at line *"},
		{"control characters", "a\x1b[31mred\x00b", "a [* b"},
		{"no text", "", ""},
		{"other digits", "Bestellung ٣٤ fehlt: Größe 12", "Bestellung * fehlt: Größe *"},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, Pattern(test.text)) })
	}
}

func TestPatternsHaveTheirProperties(t *testing.T) {
	pieces := rapid.OneOf(
		rapid.String(), rapid.StringMatching(`[a-z' "0-9.:/@\\-]{0,12}`),
		rapid.SampledFrom([]string{`"`, `'`, " ", "*", "… (", " bytes)", "Nov ", "Sun, ", "…", "0x", "://", "\\", "\n", "\xff"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(pieces, 0, 40).Draw(t, "text"), "")
		pattern := Pattern(text)
		require.Equal(t, pattern, Pattern(pattern), "it is its own pattern")
		require.Equal(t, pattern, Pattern(text), "and always the same")
		require.LessOrEqual(t, len(pattern), MaxPattern)
		require.True(t, utf8.ValidString(pattern))
		require.False(t, strings.ContainsFunc(pattern, func(r rune) bool { return unicode.IsDigit(r) || unicode.IsControl(r) }), "%q", pattern)
	})
}

// What differs only in what an order brings is one group.
func TestOrdersOfOneFailureShareAPattern(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(label string) string {
			return fmt.Sprintf("validating order %q: field price: %v is above the maximum of 1000000",
				rapid.String().Draw(t, label+" id"), rapid.Float64().Draw(t, label+" price"))
		}
		one, other := text("one"), text("other")
		if len(one) < maxLooked && len(other) < maxLooked {
			require.Equal(t, Pattern(one), Pattern(other))
		}
	})
}

func TestIDs(t *testing.T) {
	require.Equal(t, "e786b822", ID("transient", "simulated_failure", "Max retries exceeded: Simulated processing failure"), "people write it down: it never changes")
	seen := map[string]bool{}
	for _, parts := range [][3]string{{"", "", ""}, {"a", "", ""}, {"", "a", ""}, {"", "", "a"}, {"1:a", "", ""}, {"", "1:a", ""}, {"ab", "c", "d"}, {"a", "bc", "d"}, {"a", "b", "cd"}} {
		id := ID(parts[0], parts[1], parts[2])
		require.Regexp(t, "^[0-9a-f]{8}$", id)
		require.False(t, seen[id], parts)
		seen[id] = true
	}
}

func FuzzPattern(f *testing.F) {
	f.Add(`validating order "a\"b": field price: 0`)
	f.Add("'x'1 \"\\")
	f.Fuzz(func(t *testing.T, text string) {
		pattern := Pattern(text)
		require.LessOrEqual(t, len(pattern), MaxPattern)
		require.Equal(t, pattern, Pattern(pattern))
	})
}

func BenchmarkPattern(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Pattern(`validating order "order-000001-000042": field price: -5.5 is not above 0`)
	}
}
