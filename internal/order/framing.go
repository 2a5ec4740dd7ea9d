package order

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// frameSize is what the Confluent wire format puts before a record: a zero byte and the schema's
// id as four bytes, big-endian.
const frameSize = 5

// AppendFrame appends the head of a framed record.
func AppendFrame(dst []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), id)
}

// SplitFrame returns the schema id and the record of what may be a framed record. A plain record
// that starts with an empty string looks the same, so the caller has to try. Ids that no registry
// gives (0, and those above a signed 32-bit number) are not taken for a frame.
func SplitFrame(data []byte) (id uint32, record []byte, ok bool) {
	if len(data) < frameSize || data[0] != 0 {
		return 0, nil, false
	}
	id = binary.BigEndian.Uint32(data[1:])
	return id, data[frameSize:], isID(id)
}

func isID(id uint32) bool { return 0 < id && id <= math.MaxInt32 }

// SchemaIDHeader is the header in which newer serializers of Confluent put the schema's id, or its
// GUID. The value is then the record and nothing else.
const SchemaIDHeader = "__value_schema_id"

// parseSchemaID reads the value of that header: a zero byte and the id as in a frame, or a byte 1
// and the GUID.
func parseSchemaID(header []byte) (id uint32, guid string, err error) {
	switch {
	case len(header) == frameSize && header[0] == 0:
		id = binary.BigEndian.Uint32(header[1:])
		if !isID(id) {
			return 0, "", fmt.Errorf("schema id %d, must be from 1 to %d", id, math.MaxInt32)
		}
		return id, "", nil
	case len(header) == 1+guidSize && header[0] == 1:
		return 0, formatGUID(header[1:]), nil
	}
	begin := header[:min(len(header), 1+guidSize)]
	return 0, "", fmt.Errorf("%d bytes (%x), must be 00 and an id of 4 bytes, or 01 and a GUID of 16", len(header), begin)
}

const guidSize = 16

func formatGUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// foreign tells by its first bytes what a value is that cannot be decoded, or "". It is a guess,
// made for whoever has to find the producer.
func foreign(value []byte) string {
	begins := func(head ...byte) bool { return bytes.HasPrefix(value, head) }
	switch text := bytes.TrimLeft(value, " \t\r\n"); {
	case len(text) > 0 && strings.IndexByte("{[", text[0]) >= 0:
		return "JSON text"
	case begins('O', 'b', 'j', 1):
		return "an Avro object container file"
	case begins(0xc3, 0x01) && len(value) >= 10:
		return fmt.Sprintf("Avro's single-object encoding, schema fingerprint %016x", binary.LittleEndian.Uint64(value[2:]))
	case (begins(3, 0) || begins(3, 5)) && len(value) >= 2+guidSize:
		return fmt.Sprintf("the framing of AWS Glue, schema version %s", formatGUID(value[2:]))
	case begins(0, 0, 0, 0, 0) && len(value) > 9:
		return fmt.Sprintf("a frame with an id of 8 bytes (%d), as older serializers of Apicurio write it", binary.BigEndian.Uint64(value[1:]))
	case begins(1) && len(value) > guidSize:
		return fmt.Sprintf("a frame with a schema GUID (%s)", formatGUID(value[1:]))
	}
	return ""
}
