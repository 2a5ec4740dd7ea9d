package letters

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/committed"
	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/devbroker"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/redrive"
)

func decoder(t testing.TB) *order.ValueDecoder {
	t.Helper()
	s, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	d, err := order.NewDecoder(s, s)
	require.NoError(t, err)
	return &order.ValueDecoder{Plain: d}
}

func headers(l deadletter.Letter, d deadletter.Dialect) (all []kgo.RecordHeader) {
	for _, h := range l.Headers(d) {
		all = append(all, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return all
}

const pen = "\x06A-1\x06Pen\x00\x00\x00\x00\x00\x00\xf8\x3f"

// world is a broker with a dead-letter topic of one partition.
type world struct {
	t      *testing.T
	client *kgo.Client
	topic  Topic
}

func newWorld(t *testing.T) *world {
	t.Helper()
	b, err := devbroker.Start(devbroker.Options{Address: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	cl, err := kgo.NewClient(b.ClientOpts()...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return &world{t, cl, Topic{Name: "orders-dlq", Opts: b.ClientOpts(), Decoder: decoder(t)}}
}

func (w *world) create(topic string) {
	w.t.Helper()
	_, err := kadm.NewClient(w.client).CreateTopic(w.t.Context(), 1, 1, nil, topic)
	require.NoError(w.t, err)
}

func (w *world) produce(topic string, records ...*kgo.Record) {
	w.t.Helper()
	for _, r := range records {
		r.Topic = topic
	}
	require.NoError(w.t, w.client.ProduceSync(w.t.Context(), records...).FirstErr())
}

func (w *world) read() []*Letter {
	w.t.Helper()
	var all []*Letter
	require.NoError(w.t, w.topic.Read(w.t.Context(), func(l *Letter) error {
		all = append(all, l)
		return nil
	}))
	return all
}

func TestLettersAreReadWithTheirOrdersAndMarks(t *testing.T) {
	w := newWorld(t)
	require.ErrorIs(t, w.topic.Read(t.Context(), nil), kerr.UnknownTopicOrPartition)

	w.create("orders-dlq")
	spring := deadletter.Letter{Code: "java.lang.IllegalStateException", Error: "no stock", Topic: "orders", Partition: 2, Offset: 7}
	w.produce("orders-dlq",
		&kgo.Record{Value: []byte(pen), Headers: headers(spring, deadletter.Spring)},
		&kgo.Record{Value: []byte("no Avro")},
		&kgo.Record{Value: nil, Headers: headers(deadletter.Letter{ID: "orders/0/1", LastFailedAt: time.UnixMilli(5)}, deadletter.Native)},
	)
	all := w.read()
	require.Len(t, all, 3, "also without a redrive topic")
	require.Equal(t, "orders/2/7", all[0].ID, "an id for what another system wrote: its origin")
	require.Equal(t, &order.Order{ID: "A-1", Product: "Pen", Price: 1.5}, all[0].Order)
	require.Equal(t, all[0].Record.Timestamp.UTC(), all[0].At())
	require.Equal(t, "orders-dlq/0/1", all[1].ID, "and else its own place")
	require.Nil(t, all[1].Order)
	require.ErrorContains(t, all[1].Undecodable, "decoding order")
	require.Equal(t, "orders/0/1", all[2].ID)
	require.Equal(t, time.UnixMilli(5).UTC(), all[2].At())
	for _, l := range all {
		require.True(t, l.Open())
	}

	w.create(redrive.Topic("orders-dlq"))
	mark := func(action string) []byte {
		b, err := json.Marshal(redrive.Mark{Action: action, ID: "orders/2/7", Target: "orders", Run: "r", At: time.UnixMilli(9).UTC()})
		require.NoError(t, err)
		return b
	}
	w.produce(redrive.Topic("orders-dlq"),
		&kgo.Record{Key: all[0].Place.Key(), Value: mark(redrive.Redriven)},
		&kgo.Record{Key: all[1].Place.Key(), Value: mark(redrive.Parked)},
		&kgo.Record{Key: all[1].Place.Key(), Value: nil}, // taken back
		&kgo.Record{Key: redrive.RunKey("r"), Value: []byte("{}")},
	)
	all = w.read()
	require.False(t, all[0].Open())
	require.Equal(t, redrive.Redriven, all[0].Mark.Action)
	require.True(t, all[1].Open())
	require.True(t, all[2].Open())

	w.produce(redrive.Topic("orders-dlq"), &kgo.Record{Key: all[2].Place.Key(), Value: []byte("junk")})
	err := w.topic.Read(t.Context(), func(*Letter) error { return nil })
	require.ErrorContains(t, err, "reading orders-dlq-redrives/0/4: decoding mark of orders-dlq/0/2", "a letter whose mark is unreadable must not be taken for open")
}

// The headers of an order are its producer's, and its dead letter keeps them.
func TestWhatALetterClaimsIsCheckedAgainstTheMarks(t *testing.T) {
	w := newWorld(t)
	w.create("orders-dlq")
	w.create(redrive.Topic("orders-dlq"))
	of := func(offset int64, id string, redrives int) *kgo.Record {
		return &kgo.Record{Headers: headers(deadletter.Letter{ID: id, Topic: "orders", Offset: offset, Redrives: redrives}, deadletter.Native)}
	}
	nowhere := headers(deadletter.Letter{ID: "orders/0/1", Partition: deadletter.Unknown, Offset: deadletter.Unknown, Redrives: 1}, deadletter.Native)
	w.produce("orders-dlq", of(1, "orders/0/1", 0), of(9, "orders/0/1", 1), of(10, "orders/0/1", 1), of(11, "orders/0/1", 0), of(12, "orders/0/2", 5),
		of(9, "orders/0/9", 0), of(9, "orders/0/7", 1),
		&kgo.Record{Headers: nowhere})
	mark := func(offset int64, m redrive.Mark) {
		m.Action, m.Target = redrive.Redriven, "orders"
		value, err := json.Marshal(m)
		require.NoError(t, err)
		w.produce(redrive.Topic("orders-dlq"), &kgo.Record{Key: redrive.Place{Topic: "orders-dlq", Offset: offset}.Key(), Value: value})
	}
	mark(0, redrive.Mark{ID: "orders/0/1", SentAs: "orders/0/9", Redrives: 1})
	mark(77, redrive.Mark{ID: "orders/0/2"}) // of a version that did not name the order
	type claim struct {
		id       string
		redrives int
	}
	var got []claim
	for _, l := range w.read() {
		got = append(got, claim{l.ID, l.Redrives})
	}
	require.Equal(t, []claim{{"orders/0/1", 0}, {"orders/0/1", 1}, {"orders/0/10", 0}, {"orders/0/11", 0}, {"orders/0/2", 1},
		{"orders/0/9", 0}, {"orders/0/9", 0}, {"orders-dlq/0/7", 0}}, got)
}

// Its letters would be taken for open, and be sent once more.
func TestABatchOfMarksThatIsTooLargeIsAnError(t *testing.T) {
	w := newWorld(t)
	w.create("orders-dlq")
	w.create(redrive.Topic("orders-dlq"))
	cl, err := kgo.NewClient(append(w.topic.Opts, kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(100<<20))...)
	require.NoError(t, err)
	defer cl.Close()
	rec := &kgo.Record{Topic: redrive.Topic("orders-dlq"), Value: bytes.Repeat([]byte("0"), committed.MaxBatchBytes+1)}
	require.NoError(t, cl.ProduceSync(t.Context(), rec).FirstErr())
	err = w.topic.Read(t.Context(), func(*Letter) error { return nil })
	require.EqualError(t, err, "records orders-dlq-redrives/0/0 to 0 are in one batch of more than 64 MiB without its compression: they are not read")
}

// The letters of a topic that was made again are at the places of others that were sent.
func TestMarksOfAFormerTopicCountNoMore(t *testing.T) {
	w := newWorld(t)
	w.create("orders-dlq")
	w.create(redrive.Topic("orders-dlq"))
	adm := kadm.NewClient(w.client)
	mark := func(offset int64) *kgo.Record {
		cl, err := kgo.NewClient(w.topic.Opts...) // the other remembers topics for a while
		require.NoError(t, err)
		defer cl.Close()
		id, err := TopicID(t.Context(), kadm.NewClient(cl), "orders-dlq")
		require.NoError(t, err)
		require.NotEmpty(t, id)
		value, err := json.Marshal(redrive.Mark{Action: redrive.Redriven, TopicID: id})
		require.NoError(t, err)
		return &kgo.Record{Key: redrive.Place{Topic: "orders-dlq", Offset: offset}.Key(), Value: value}
	}
	write := func() {
		// A producer of its own: one goes on to ask for the id of the topic that it knows.
		cl, err := kgo.NewClient(w.topic.Opts...)
		require.NoError(t, err)
		defer cl.Close()
		for range 2 {
			require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders-dlq", Value: []byte(pen)}).FirstErr())
		}
	}
	open := func() (all []bool) {
		for _, l := range w.read() {
			all = append(all, l.Open())
		}
		return all
	}
	write()
	w.produce(redrive.Topic("orders-dlq"), mark(0), mark(1))
	require.Equal(t, []bool{false, false}, open())

	_, err := adm.DeleteTopic(t.Context(), "orders-dlq")
	require.NoError(t, err)
	w.create("orders-dlq")
	write()
	require.Equal(t, []bool{true, true}, open())
	w.produce(redrive.Topic("orders-dlq"), mark(1))
	require.Equal(t, []bool{true, false}, open())
}

func TestAnErrorOfTheCallerEndsTheReading(t *testing.T) {
	w := newWorld(t)
	w.create("orders-dlq")
	w.produce("orders-dlq", &kgo.Record{}, &kgo.Record{})
	n, stop := 0, errors.New("stop")
	require.ErrorIs(t, w.topic.Read(t.Context(), func(*Letter) error { n++; return stop }), stop)
	require.Equal(t, 1, n)
}

// unreachable is a registry that is away.
type unreachable struct{}

func (unreachable) Decoder(ctx context.Context, _ uint32) (*order.Decoder, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("waiting for the schema registry: %w", ctx.Err())
}

func (u unreachable) DecoderByGUID(ctx context.Context, _ string) (*order.Decoder, error) {
	return u.Decoder(ctx, 0)
}

// registry is one that has one schema: that of an order whose first fields are swapped.
type registry struct{ decoder *order.Decoder }

func (r registry) Decoder(context.Context, uint32) (*order.Decoder, error) { return r.decoder, nil }

func (r registry) DecoderByGUID(context.Context, string) (*order.Decoder, error) {
	return r.decoder, nil
}

func TestALetterIsReadByTheSchemaInItsHeader(t *testing.T) {
	const header = order.SchemaIDHeader
	reader, err := order.ParseSchema(schemas.Order)
	require.NoError(t, err)
	writer, err := order.ParseSchema(`{"type":"record","name":"Order","fields":[{"name":"product","type":"string"},{"name":"orderId","type":"string"},{"name":"price","type":"double"}]}`)
	require.NoError(t, err)
	swapped, err := order.NewDecoder(reader, writer)
	require.NoError(t, err)
	id := []byte("\x00\x00\x00\x00\x07")
	for name, c := range map[string]struct {
		registry order.Decoders
		headers  []kgo.RecordHeader
		id, code string
	}{
		"no header":               {registry{swapped}, nil, "A-1", ""},
		"an id":                   {registry{swapped}, []kgo.RecordHeader{{Key: header, Value: id}}, "Pen", ""},
		"the last of two counts":  {registry{swapped}, []kgo.RecordHeader{{Key: header, Value: []byte("x")}, {Key: header, Value: id}}, "Pen", ""},
		"no registry":             {nil, []kgo.RecordHeader{{Key: header, Value: id}}, "", order.CodeRegistryMissing},
		"a header that is null":   {registry{swapped}, []kgo.RecordHeader{{Key: header}}, "", order.CodeSchemaHeaderInvalid},
		"a header that is broken": {registry{swapped}, []kgo.RecordHeader{{Key: header, Value: []byte("x")}}, "", order.CodeSchemaHeaderInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			d := decoder(t)
			d.Registry = c.registry
			l := Parse(&kgo.Record{Topic: "orders-dlq", Value: []byte(pen), Headers: c.headers})
			require.NoError(t, l.Decode(t.Context(), d))
			if c.code != "" {
				_, code := failure.Of(l.Undecodable)
				require.Equal(t, c.code, code)
				require.Nil(t, l.Order)
				return
			}
			require.NoError(t, l.Undecodable)
			require.Equal(t, c.id, l.Order.ID)
		})
	}
}

func TestAnOutageOfTheRegistryIsNotTheLettersFault(t *testing.T) {
	d := decoder(t)
	d.Registry = unreachable{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := Parse(&kgo.Record{Topic: "orders-dlq", Value: []byte("\x00\x00\x00\x00\x01" + pen)})
	require.ErrorIs(t, l.Decode(ctx, d), context.Canceled)
	require.NoError(t, l.Undecodable)
}

func TestFilters(t *testing.T) {
	letter := func(value string, h ...kgo.RecordHeader) *Letter {
		l := Parse(&kgo.Record{Topic: "orders-dlq", Value: []byte(value), Headers: h})
		require.NoError(t, l.Decode(t.Context(), decoder(t)))
		return &l
	}
	connect := letter(pen, append(headers(deadletter.Letter{Code: "DataException", Error: "no schema", Topic: "orders", Offset: 3}, deadletter.Connect),
		kgo.RecordHeader{Key: "trace", Value: []byte("first")}, kgo.RecordHeader{Key: "trace", Value: []byte("\xfflast")}, kgo.RecordHeader{Key: "none"})...)
	broken := letter("no Avro")
	for _, test := range []struct {
		name   string
		query  string
		letter *Letter
		want   bool
		err    string
	}{
		{"the order", `this.price > 1 && this.product == "Pen"`, connect, true, ""},
		{"another order", `this.price > 2`, connect, false, ""},
		{"as a mapping", `root = this.orderId == "A-1"`, connect, true, ""},
		{"no order is null", `this == null`, broken, true, ""},
		{"native names in any dialect", `@dlq_code == "DataException" && @dlq_error == "no schema" && @dlq_id == "orders/0/3" && @dlq_offset.number() == 3`, connect, true, ""},
		{"the headers as they are", `@."__connect.errors.exception.message" == "no schema"`, connect, true, ""},
		{"the last of a name, of any bytes", `@trace.bytes().length() == 5`, connect, true, ""},
		{"a null header is null", `@none == null`, connect, true, ""},
		{"no header is null", `@nothing == null`, connect, true, ""},
		{"what fails is no answer", `this.price > 1`, broken, false, "asking of orders-dlq/0/0"},
		{"nor is what is no boolean", `this.product`, connect, false, `got "Pen", expected a boolean`},
		{"nor a text", `"true"`, connect, false, "expected a boolean"},
		{"nor a deletion", `root = deleted()`, connect, false, "expected a boolean"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := ParseFilter(test.query)
			require.NoError(t, err)
			got, err := f.Matches(test.letter)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
	_, err := ParseFilter("this.price >")
	require.Error(t, err)
}
