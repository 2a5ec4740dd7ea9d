package order_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

// away is a registry that cannot be reached.
type away struct{}

func (away) Decoder(ctx context.Context, _ uint32) (*order.Decoder, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (a away) DecoderByGUID(ctx context.Context, _ string) (*order.Decoder, error) {
	return a.Decoder(ctx, 0)
}

// silent is a registry that gives no answer.
type silent struct{}

func (silent) Decoder(context.Context, uint32) (*order.Decoder, error) {
	return nil, failure.NewUnavailable("registry_unavailable", errors.New("no answer"))
}

func (s silent) DecoderByGUID(ctx context.Context, _ string) (*order.Decoder, error) {
	return s.Decoder(ctx, 0)
}

// While the registry is away nobody can tell a frame from a plain record that begins alike.
func TestAFrameIsNotTakenForAPlainRecordWhileTheRegistryIsAway(t *testing.T) {
	d := order.ValueDecoder{Plain: decoder(t, current(t), current(t)), Registry: away{}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := d.Decode(ctx, order.AppendFrame(nil, 9), nil)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = d.Decode(ctx, append(order.AppendFrame(nil, 9), "\x00\x00\x00\xf8\x3f"...), nil) // also a plain record
	require.ErrorIs(t, err, context.Canceled)
	class, _ := failure.Of(err)
	require.NotEqual(t, failure.Permanent, class)

	d.Registry = silent{}
	_, _, err = d.Decode(t.Context(), append(order.AppendFrame(nil, 9), "\x00\x00\x00\xf8\x3f"...), nil)
	require.EqualError(t, err, "decoding order: 10 bytes: no answer")
	require.True(t, failure.Unavailable(err))
}

// registered is a registry whose schemas are by id and by GUID.
type registered map[string]*order.Decoder

func (r registered) Decoder(ctx context.Context, id uint32) (*order.Decoder, error) {
	return r.DecoderByGUID(ctx, fmt.Sprint(id))
}

func (r registered) DecoderByGUID(_ context.Context, guid string) (*order.Decoder, error) {
	if d, ok := r[guid]; ok {
		return d, nil
	}
	return nil, failure.NewPermanent("unknown_schema_id", fmt.Errorf("%s is not known", guid))
}

const guid = "00112233-4455-6677-8899-aabbccddeeff"

const (
	headerID   = "\x00\x00\x00\x00\x07"
	headerGUID = "\x01\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
)

// The schema that a header names is the only one that counts: by the built-in one the same bytes
// are an order too, with its fields swapped.
func TestASchemaInAHeader(t *testing.T) {
	swapped := parse(t, `{"type":"record","name":"Order","fields":[{"name":"product","type":"string"},{"name":"orderId","type":"string"},{"name":"price","type":"double"}]}`)
	payment := parse(t, `{"type":"record","name":"Payment","fields":[{"name":"payer","type":"string"},{"name":"payee","type":"string"},{"name":"amount","type":"double"}]}`)
	_, err := order.NewDecoder(current(t), payment)
	require.ErrorContains(t, err, "reader field orderId is missing")
	plain := decoder(t, current(t), current(t))
	with := &order.ValueDecoder{Plain: plain, Registry: registered{"7": decoder(t, current(t), swapped), guid: decoder(t, current(t), swapped)}}
	without := &order.ValueDecoder{Plain: plain}
	want := order.Order{ID: sampleOrder.Product, Product: sampleOrder.ID, Price: sampleOrder.Price}
	for _, header := range []string{headerID, headerGUID} {
		o, framing, err := with.Decode(t.Context(), []byte(sample), []byte(header))
		require.NoError(t, err)
		require.Equal(t, want, o)
		require.Equal(t, order.InHeader, framing)
	}
	o, framing, err := with.Decode(t.Context(), []byte(sample), nil)
	require.NoError(t, err)
	require.Equal(t, sampleOrder, o)
	require.Equal(t, order.Plain, framing)

	for name, c := range map[string]struct {
		d             *order.ValueDecoder
		value, header string
		code, text    string
	}{
		"no registry for an id":  {without, sample, headerID, order.CodeRegistryMissing, "header __value_schema_id: schema id 7 needs a registry: set registry.url"},
		"no registry for a GUID": {without, sample, headerGUID, order.CodeRegistryMissing, "header __value_schema_id: schema GUID " + guid + " needs a registry: set registry.url"},
		"an empty header":        {with, sample, "", order.CodeSchemaHeaderInvalid, "header __value_schema_id: 0 bytes (), must be 00 and an id of 4 bytes, or 01 and a GUID of 16"},
		"an id as text":          {with, sample, "7", order.CodeSchemaHeaderInvalid, "header __value_schema_id: 1 bytes (37), must be"},
		"an id of 8 bytes":       {with, sample, "\x00\x00\x00\x00\x00\x00\x00\x00\x07", order.CodeSchemaHeaderInvalid, "9 bytes (000000000000000007), must be"},
		"an id of 0":             {with, sample, "\x00\x00\x00\x00\x00", order.CodeSchemaHeaderInvalid, "header __value_schema_id: schema id 0, must be from 1 to 2147483647"},
		"an id above all":        {with, sample, "\x00\x80\x00\x00\x00", order.CodeSchemaHeaderInvalid, "header __value_schema_id: schema id 2147483648, must be from 1 to 2147483647"},
		"a GUID that is cut":     {with, sample, headerGUID[:16], order.CodeSchemaHeaderInvalid, "16 bytes (0100112233445566778899aabbccddee), must be"},
		"a megabyte":             {with, sample, strings.Repeat("\x01", 1<<20), order.CodeSchemaHeaderInvalid, "1048576 bytes (" + strings.Repeat("01", 17) + "), must be"},
		"another magic byte":     {with, sample, "\x02" + headerID[1:], order.CodeSchemaHeaderInvalid, "5 bytes (0200000007), must be"},
		"an unknown id":          {with, sample, "\x00\x00\x00\x00\x08", "unknown_schema_id", "16 bytes: header __value_schema_id: 8 is not known"},
		"an unknown GUID":        {with, sample, headerGUID[:16] + "\x00", "unknown_schema_id", "16 bytes: header __value_schema_id: 00112233-4455-6677-8899-aabbccddee00 is not known"},
		"a frame as well":        {with, headerID + sample, headerID, order.CodeDecodeFailed, "21 bytes: header __value_schema_id: record of schema id 7: 11 bytes follow after the record"},
		"a record that is cut":   {with, sample[:9], headerGUID, order.CodeDecodeFailed, "9 bytes: header __value_schema_id: record of schema GUID " + guid + ": field price: record ends after 1 of 8 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := c.d.Decode(t.Context(), []byte(c.value), append([]byte{}, c.header...))
			require.ErrorContains(t, err, c.text)
			class, code := failure.Of(err)
			require.Equal(t, failure.Permanent, class)
			require.Equal(t, c.code, code)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, header := range []string{headerID, headerGUID} {
		_, _, err := (&order.ValueDecoder{Plain: plain, Registry: away{}}).Decode(ctx, []byte(sample), []byte(header))
		require.ErrorIs(t, err, context.Canceled)
		class, _ := failure.Of(err)
		require.NotEqual(t, failure.Permanent, class)
	}
}

// A frame whose record has no price is that, and not a plain record of the same bytes.
func TestANullFieldInAFrame(t *testing.T) {
	writer := parse(t, strings.Replace(record(""), `"double"`, `["null","double"]`, 1))
	d := order.ValueDecoder{Plain: decoder(t, current(t), current(t)), Registry: registered{"7": decoder(t, current(t), writer)}}
	value := headerID + "\x02A\x02B\x00"
	_, err := d.Plain.Decode([]byte(value))
	require.NoError(t, err, "without an id, and a price of no sense")
	_, _, err = d.Decode(t.Context(), []byte(value), nil)
	require.EqualError(t, err, "decoding order: 10 bytes: record of schema id 7: field price: is null")
	_, code := failure.Of(err)
	require.Equal(t, order.CodePriceMissing, code)
	_, _, err = d.Decode(t.Context(), []byte(value[5:]), []byte(headerID))
	require.EqualError(t, err, "decoding order: 5 bytes: header __value_schema_id: record of schema id 7: field price: is null")
	_, code = failure.Of(err)
	require.Equal(t, order.CodePriceMissing, code)
}

// Who finds such a value wants to know who wrote it.
func TestForeignFramingsAreNamed(t *testing.T) {
	glue := "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff" + sample
	for value, want := range map[string]string{
		`{"orderId":"A-1","product":"Pen","price":1.5}`: "45 bytes: it looks like JSON text, and is no order in Avro",
		"\r\n [{}]":                  "7 bytes: it looks like JSON text, and is no order in Avro",
		"Obj\x01\x04\x16avro.schema": "17 bytes: it looks like an Avro object container file, and is no order in Avro",
		"\xc3\x01\x08\x07\x06\x05\x04\x03\x02\x01" + sample: "26 bytes: it looks like Avro's single-object encoding, schema fingerprint 0102030405060708, and is no order in Avro",
		"\x03\x00" + glue: "34 bytes: it looks like the framing of AWS Glue, schema version " + guid + ", and is no order in Avro",
		"\x03\x05" + glue: "34 bytes: it looks like the framing of AWS Glue, schema version " + guid + ", and is no order in Avro",
		"\x00\x00\x00\x00\x00\x00\x00\x01\x02" + sample: "25 bytes: it looks like a frame with an id of 8 bytes (258), as older serializers of Apicurio write it, and is no order in Avro",
		headerGUID + sample:                             "33 bytes: it looks like a frame with a schema GUID (" + guid + "), and is no order in Avro",
		"Object":                                        "6 bytes: field orderId: length is -40",
		"\xc3\x01":                                      "2 bytes: field orderId: length is -98",
		"\x03\x01" + glue:                               "34 bytes: field orderId: length is -2",
	} {
		for _, d := range []order.ValueDecoder{{Plain: decoder(t, current(t), current(t))}, {Plain: decoder(t, current(t), current(t)), Registry: registered{}}} {
			_, _, err := d.Decode(t.Context(), []byte(value), nil)
			require.EqualError(t, err, "decoding order: "+want)
			class, code := failure.Of(err)
			require.Equal(t, failure.Permanent, class)
			require.Equal(t, order.CodeDecodeFailed, code)
		}
	}
	// What can be decoded is not guessed at.
	named := parse(t, record(`{"name":"n","type":"int"},`))
	d := order.ValueDecoder{Plain: decoder(t, named, named)}
	o, _, err := d.Decode(t.Context(), []byte("\x03"+sample), nil)
	require.NoError(t, err)
	require.Equal(t, sampleOrder, o)
}
