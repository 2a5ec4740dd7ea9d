package kafkatransactional

import (
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

func templateOf(t testing.TB, text string) template {
	host, err := service.NewInterpolatedString(text)
	require.NoError(t, err)
	return newTemplate(text, host)
}

func located() *service.Message {
	msg := service.NewMessage([]byte(`{"a":1}`))
	msg.MetaSetMut("kafka_topic", "orders")
	msg.MetaSetMut("kafka_partition", 3)
	msg.MetaSetMut("kafka_offset", 12345)
	msg.MetaSetMut("kafka_key", []byte("k"))
	msg.MetaSetMut("ratio", 0.5)
	msg.MetaSetMut("null", nil)
	return msg
}

const originText = "${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }"

func TestATemplateIsWhatTheHostMakesOfIt(t *testing.T) {
	for text, quick := range map[string]bool{
		"":                            true,
		"text":                        true,
		originText:                    true,
		"${!@kafka_topic}":            true,
		"<${! @kafka_key }>":          true,
		"${! @ratio } ${! @null }":    true,
		"${! @missing }":              true,
		"${! this.a }":                false,
		"${! @kafka_topic }${!this}":  false,
		"${{! @kafka_topic }}":        false,
		"${! @kafka_offset + 1 }":     false,
		"${! @kafka_topic.length() }": false,
		`${! @."kafka_topic" }`:       false,
	} {
		t.Run(text, func(t *testing.T) {
			tpl := templateOf(t, text)
			require.Equal(t, quick, tpl.parts != nil)
			want, err := tpl.host.TryString(located())
			require.NoError(t, err)
			got, err := tpl.append([]byte("before"), located())
			require.NoError(t, err)
			require.Equal(t, "before"+want, string(got))
		})
	}
}

func TestATemplateThatFails(t *testing.T) {
	_, err := templateOf(t, `${! throw("no") }`).append(nil, located())
	require.ErrorContains(t, err, "no")
}

func BenchmarkTemplate(b *testing.B) {
	tpl, msg := templateOf(b, originText), located()
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf, _ = tpl.append(buf[:0], msg)
		}
	})
	b.Run("host", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = tpl.host.TryString(msg)
		}
	})
}
