// Package terminal lays out what a command prints, by how wide a terminal shows it. What texts of
// unknown origin become is said in internal/shown.
package terminal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"github.com/orderflow/orderflow/internal/shown"
)

const (
	// Empty stands for a text that is empty.
	Empty = "-"
	// null stands for bytes that are null, hexadecimal begins those that are shown in hex.
	null        = "(null)"
	hexadecimal = "0x"
)

// Line returns s as one line, at most that many columns wide and a sign more where it is cut.
func Line(s string, most int) string {
	switch s {
	case "":
		return Empty
	case Empty:
		return shown.Quote(s)
	}
	return cut(shown.Text(s), most)
}

func cut(s string, most int) string {
	end, width := 0, 0
	for rest, state := s, -1; rest != ""; {
		var sign string
		var w int
		sign, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if width += w; width > most {
			return s[:end] + "…"
		}
		end += len(sign)
	}
	return s
}

// shortest is up to how many bytes a value that is no text is rather a number, shown in hex.
const shortest = 16

// Value shows bytes: text as it is, a few bytes that are no text in hex, anything else quoted, null
// as such, and of long ones only so many bytes and how many there are.
func Value(v []byte, most int) string {
	if v == nil {
		return null
	}
	if len(v) <= min(shortest, most) && (!utf8.Valid(v) || bytes.IndexByte(v, 0) >= 0) {
		return hexadecimal + hex.EncodeToString(v)
	}
	if text := string(v); text == null || strings.HasPrefix(text, hexadecimal) && len(v) <= most {
		return shown.Quote(text)
	}
	end := ""
	if len(v) > most {
		end = "… (" + strconv.Itoa(len(v)) + " bytes)"
		v = v[:most]
		for n := 0; n < utf8.UTFMax && len(v) > 0 && end != ""; n++ { // not in the middle of a rune
			if r, size := utf8.DecodeLastRune(v); r != utf8.RuneError || size > 1 {
				break
			}
			v = v[:len(v)-1]
		}
	}
	return shown.Text(string(v)) + end
}

// JSON encodes v as one line of JSON that can be printed on a terminal.
func JSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(shown.JSON(b), '\n'), nil
}
