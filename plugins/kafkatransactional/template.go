package kafkatransactional

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// metadataInText matches a bare reference to metadata in an interpolated string.
var metadataInText = regexp.MustCompile(`\$\{! *@([A-Za-z_][A-Za-z0-9_]*) *\}`)

// template is an interpolated string. One that is text and bare metadata only, such as the
// header that says where a record came from, is put together without Bloblang, which costs
// several times as much.
type template struct {
	parts []part // none: the host does it
	host  *service.InterpolatedString
}

// part is some text and the name of the metadata that follows it, if any does.
type part struct{ text, name string }

func newTemplate(text string, host *service.InterpolatedString) template {
	var parts []part
	at := 0
	for _, m := range metadataInText.FindAllStringSubmatchIndex(text, -1) {
		parts = append(parts, part{text[at:m[0]], text[m[2]:m[3]]})
		at = m[1]
	}
	parts = append(parts, part{text: text[at:]})
	for _, p := range parts {
		if strings.Contains(p.text, "${") {
			parts = nil // it has more in it than metadata
			break
		}
	}
	return template{parts: parts, host: host}
}

// append appends what the template is for a message.
func (t template) append(b []byte, msg *service.Message) ([]byte, error) {
	before := len(b)
	for _, p := range t.parts {
		b = append(b, p.text...)
		if p.name == "" {
			return b, nil // the last one
		}
		v, _ := msg.MetaGetImmut(p.name)
		switch v := v.(type) {
		case string:
			b = append(b, v...)
		case int:
			b = strconv.AppendInt(b, int64(v), 10)
		default: // the host knows how to write it
			return t.appendByHost(b[:before], msg)
		}
	}
	return t.appendByHost(b, msg)
}

func (t template) appendByHost(b []byte, msg *service.Message) ([]byte, error) {
	value, err := t.host.TryBytes(msg)
	return append(b, value...), err
}
