package kafkatransactional

import (
	"maps"
	"math"
	"slices"
	"strconv"
)

// appendJSON appends a document as the host would marshal it, byte for byte, without its
// reflection: for a small object that is most of what a message costs at an output. It takes
// plain values only; of anything else it says false, and the host has to do it.
func appendJSON(b []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), true
	case bool:
		return strconv.AppendBool(b, v), true
	case int:
		return strconv.AppendInt(b, int64(v), 10), true
	case int64:
		return strconv.AppendInt(b, v, 10), true
	case float64:
		// Others are written with an exponent, or cannot be written.
		if size := math.Abs(v); v != 0 && !(size >= 1e-6 && size < 1e21) {
			return b, false
		}
		return strconv.AppendFloat(b, v, 'f', -1, 64), true
	case string:
		return appendJSONString(b, v)
	case map[string]any:
		return appendJSONObject(b, v)
	default:
		return b, false
	}
}

func appendJSONObject(b []byte, object map[string]any) ([]byte, bool) {
	var few [8]string
	names := slices.AppendSeq(few[:0], maps.Keys(object))
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		var ok bool
		if b, ok = appendJSONString(b, name); !ok {
			return b, false
		}
		if b, ok = appendJSON(append(b, ':'), object[name]); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

// appendJSONString takes text that needs no escapes.
func appendJSONString(b []byte, s string) ([]byte, bool) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return b, false
		}
	}
	return append(append(append(b, '"'), s...), '"'), true
}
