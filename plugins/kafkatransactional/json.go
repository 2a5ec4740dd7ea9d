package kafkatransactional

import (
	"maps"
	"math"
	"slices"
	"strconv"
)

// jsonWriter writes documents as the host would marshal them, byte for byte, without its
// reflection: for a small object that is most of what a message costs at an output.
type jsonWriter struct {
	// names are those of the last object, sorted. Documents of one stream mostly have the same.
	names []string
}

// append appends a document. It takes plain values only; of anything else it says false, and the
// host has to do it.
func (w *jsonWriter) append(b []byte, v any) ([]byte, bool) {
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
		begin := len(b)
		if b, ok := w.object(b, v, w.names); ok {
			return b, true
		}
		names := slices.Sorted(maps.Keys(v))
		w.names = names
		return w.object(b[:begin], v, names)
	default:
		return b, false
	}
}

// object appends an object with these names. It says false if they are not the object's, too.
func (w *jsonWriter) object(b []byte, object map[string]any, names []string) ([]byte, bool) {
	if len(names) != len(object) {
		return b, false
	}
	b = append(b, '{')
	for i, name := range names {
		v, ok := object[name]
		if !ok {
			return b, false
		}
		if i > 0 {
			b = append(b, ',')
		}
		if b, ok = appendJSONString(b, name); !ok {
			return b, false
		}
		if b, ok = w.append(append(b, ':'), v); !ok {
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
