package redrive_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/test/bounded"
)

func TestTheRedriveTopicIsNamedAfterItsDeadLetters(t *testing.T) {
	require.Equal(t, "orders-dlq-redrives", redrive.Topic("orders-dlq"))
}

func TestKeysNameWhatTheyHold(t *testing.T) {
	p := redrive.Place{Topic: "orders-dlq", Partition: 3, Offset: 1 << 40}
	require.Equal(t, "orders-dlq/3/1099511627776", p.String())
	require.Equal(t, "mark/orders-dlq/3/1099511627776", string(p.Key()))
	require.Equal(t, "run/r-1", string(redrive.RunKey("r-1")))
}

func TestPlacesAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := redrive.Place{
			Topic:     rapid.StringMatching(`[a-zA-Z0-9._-]{1,249}`).Draw(t, "topic"),
			Partition: rapid.Int32Min(0).Draw(t, "partition"),
			Offset:    rapid.Int64Min(0).Draw(t, "offset"),
		}
		got, err := redrive.ParsePlace(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got)
	})
}

func TestAWrongPlaceIsAnErrorThatNamesIt(t *testing.T) {
	for place, want := range map[string]string{
		"":                        `place "": want TOPIC/PARTITION/OFFSET`,
		"orders-dlq":              `place "orders-dlq": want TOPIC/PARTITION/OFFSET`,
		"/0/1":                    `place "/0/1": want TOPIC/PARTITION/OFFSET`,
		"a/b/0/1":                 `place "a/b/0/1": want TOPIC/PARTITION/OFFSET`,
		"a/x/1":                   `place "a/x/1": partition "x" is no number`,
		"a/-1/1":                  `place "a/-1/1": partition "-1" is no number`,
		"a/2147483648/1":          `place "a/2147483648/1": partition "2147483648" is no number`,
		"a/0/":                    `place "a/0/": offset "" is no number`,
		"a/0/-1":                  `place "a/0/-1": offset "-1" is no number`,
		"a/0/9223372036854775808": `place "a/0/9223372036854775808": offset "9223372036854775808" is no number`,
		"a/01/1":                  `place "a/01/1": want it as a/1/1`,
		"a/0/+1":                  `place "a/0/+1": want it as a/0/1`,
		"a/-0/1":                  `place "a/-0/1": want it as a/0/1`,
	} {
		_, err := redrive.ParsePlace(place)
		require.EqualError(t, err, want)
	}
}

func TestAMarkIsReadAsItWasWritten(t *testing.T) {
	p := redrive.Place{Topic: "orders-dlq", Partition: 3, Offset: 7}
	m := redrive.Mark{Action: redrive.Parked, ID: "orders/0/3", Target: "orders-parked", Run: "r-1", At: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	value, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, `{"action":"parked","dlq_id":"orders/0/3","target":"orders-parked","run":"r-1","at":"2026-11-22T09:00:00Z"}`, string(value))

	m.TopicID = "AAAA"
	value, err = json.Marshal(m)
	require.NoError(t, err)
	require.Contains(t, string(value), `"topic_id":"AAAA"`)
	at, got, ok, err := redrive.ParseMark(p.Key(), value)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, p, at)
	require.Equal(t, m, got)
}

func TestAMarkConcernsTheTopicThatItWasWrittenFor(t *testing.T) {
	for name, c := range map[string]struct {
		mark, topic string
		want        bool
	}{
		"the same":                              {"a", "a", true},
		"one of the same name, made again":      {"a", "b", false},
		"a mark from before there were ids":     {"", "b", true},
		"a broker that gives no ids (any more)": {"a", "", true},
	} {
		require.Equal(t, c.want, redrive.Mark{TopicID: c.mark}.Concerns(c.topic), name)
	}
}

func TestWhatIsNoMark(t *testing.T) {
	for name, c := range map[string]struct{ key, value []byte }{
		"the record of a run":          {redrive.RunKey("r-1"), []byte(`{}`)},
		"a record without a key":       {nil, []byte(`{}`)},
		"a tombstone of a mark":        {[]byte("mark/orders-dlq/0/1"), nil},
		"a key that only begins alike": {[]byte("marks/orders-dlq/0/1"), []byte(`{}`)},
	} {
		_, _, ok, err := redrive.ParseMark(c.key, c.value)
		require.NoError(t, err, name)
		require.False(t, ok, name)
	}
}

func TestABrokenMarkIsAnErrorThatNamesIt(t *testing.T) {
	for name, c := range map[string]struct{ key, value, want string }{
		"a key without a place": {"mark/orders-dlq/0", `{}`, `parsing key of a mark: place "orders-dlq/0": want TOPIC/PARTITION/OFFSET`},
		"a value that is cut":   {"mark/orders-dlq/0/1", `{"action":`, `decoding mark of orders-dlq/0/1: unexpected end of JSON input`},
		"an empty value":        {"mark/orders-dlq/0/1", ``, `decoding mark of orders-dlq/0/1: unexpected end of JSON input`},
		"a time that is none":   {"mark/orders-dlq/0/1", `{"at":"soon"}`, `decoding mark of orders-dlq/0/1: parsing time`},
	} {
		_, _, ok, err := redrive.ParseMark([]byte(c.key), []byte(c.value))
		require.ErrorContains(t, err, c.want, name)
		require.False(t, ok, name)
	}
}

// Compaction tells marks apart by their bytes, so that a place must have one key.
func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"orders-dlq/0/1", "orders-dlq/01/1", "a/0/+1", "a/-0/1", "//", "a/2147483648/9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := redrive.ParsePlace(s)
		if err != nil {
			require.ErrorContains(t, err, "place ")
			return
		}
		require.Equal(t, s, p.String())
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add([]byte("mark/orders-dlq/0/1"), []byte(`{"action":"redriven","dlq_id":"orders/0/1","at":"2026-11-22T09:00:00Z"}`))
	f.Add([]byte("mark/orders-dlq/0/1"), []byte(`{"at":"9999-12-31T23:59:59-23:59"}`))
	f.Add([]byte("run/r-1"), []byte(`{}`))
	f.Add([]byte("mark/orders-dlq/0/1"), []byte(`null`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var p redrive.Place
		var m redrive.Mark
		var ok bool
		var err error
		bounded.Memory(t, len(key)+len(value), func() { p, m, ok, err = redrive.ParseMark(key, value) })
		if err != nil {
			require.Regexp(t, `^parsing key of a mark: |^decoding mark of `, err.Error())
			require.False(t, ok)
			return
		}
		if !ok {
			return
		}
		require.Equal(t, string(key), string(p.Key()))
		again, err := json.Marshal(m)
		require.NoError(t, err)
		p2, m2, ok, err := redrive.ParseMark(p.Key(), again)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, p, p2)
		require.True(t, m.At.Equal(m2.At))
		m2.At = m.At
		require.Equal(t, m, m2)
	})
}
