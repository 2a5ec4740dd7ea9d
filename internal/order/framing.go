package order

import (
	"encoding/binary"
	"math"
)

// frameSize is what the Confluent wire format puts before a record: a zero byte and the schema's
// id as four bytes, big-endian.
const frameSize = 5

// AppendFrame appends the head of a framed record.
func AppendFrame(dst []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), id)
}

// SplitFrame returns the schema id and the record of what may be a framed record. A plain record
// that starts with an empty string looks the same, so the caller has to try. Ids above what a
// registry can give (a signed 32-bit number) are not taken for a frame.
func SplitFrame(data []byte) (id uint32, record []byte, ok bool) {
	if len(data) < frameSize || data[0] != 0 {
		return 0, nil, false
	}
	id = binary.BigEndian.Uint32(data[1:])
	return id, data[frameSize:], id <= math.MaxInt32
}
