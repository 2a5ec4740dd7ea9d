package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/cmd/orderflow/aggregates"
	"github.com/orderflow/orderflow/cmd/orderflow/audit"
	"github.com/orderflow/orderflow/cmd/orderflow/dlq"
	"github.com/orderflow/orderflow/cmd/orderflow/environment"
	"github.com/orderflow/orderflow/cmd/orderflow/topics"
	"github.com/orderflow/orderflow/config"
)

// setting is what somebody may have set, and what it means.
type setting struct{ value, meaning string }

// hostile is text with the signs that YAML, shells and the host take for their own.
func hostile() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{
			" ", "\t", "\n", "\r\n", `\`, `CORP\svc`, `C:\new\x41`, `"`, `'`, "a #b", ": ", "- ", "~", "null", "yes", "0x10", "007", "1e3", "%", "&a", "*a", "!!str ",
			"{", "}", "[", "]", ",", "|", ">", "@", "`", "?", "${X}", "${{X}}", "${X:y}", "${!", "$", "\ufeff", "\u0085", "\u2028", "\x7f", "\x01", "ü", "😀", "\ufffd",
		}),
		rapid.StringN(0, 5, 20),
	)
	return rapid.Custom(func(t *rapid.T) string {
		return strings.ReplaceAll(strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "pieces"), ""), "\x00", "")
	}).Filter(func(s string) bool { return s != "" })
}

func around(value, meaning string) *rapid.Generator[setting] {
	blank := rapid.SampledFrom([]string{"", " ", "\t", "\r", "\ufeff", " \n"})
	return rapid.Custom(func(t *rapid.T) setting {
		return setting{blank.Draw(t, "before") + value + blank.Draw(t, "after"), meaning}
	})
}

func oneOf(pairs ...string) *rapid.Generator[setting] {
	var all []*rapid.Generator[setting]
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, around(pairs[i], pairs[i+1]))
	}
	return rapid.OneOf(all...)
}

// values says for each variable what it may be. Those that are not named are free text, the
// topics without blanks at their ends.
var values = map[string]*rapid.Generator[setting]{
	"KAFKA_BROKERS":        oneOf("a:1", "a:1", "a:1, b:2 ,", "a:1,b:2", "[::1]:9092,,a", "[::1]:9092,a"),
	"KAFKA_TLS":            oneOf("true", "true", "yes", "true", "On", "true", "1", "true", "no", "false", "OFF", "false", "0", "false"),
	"KAFKA_SASL_MECHANISM": oneOf("PLAIN", "PLAIN", "scram-sha-256", "SCRAM-SHA-256", "none", "none"),
	"FAILURE_RATE":         oneOf("0.5", "0.5", "05e-1", "0.5", "1", "1"),
	"BREAKER_RATIO":        oneOf(".25", "0.25", "0", "0"),
	"REDRIVE_RATE":         oneOf("1e2", "100", "0.5", "0.5"),
	"FAILURE_SEED":         oneOf("007", "7", "-3", "-3"),
	"ORDER_SEED":           oneOf("+1", "1", "010", "10"),
	"ORDER_COUNT":          oneOf("00", "0", "12", "12"),
	"REDRIVE_LIMIT":        oneOf("5", "5"),
	"MAX_REDRIVES":         oneOf("08", "8"),
	"TOPIC_REPLICATION":    oneOf("03", "3"),
	"TOPIC_MIN_INSYNC":     oneOf("02", "2"),
	"COMMIT_INTERVAL":      oneOf("1s", "1s"),
	"SESSION_TIMEOUT":      oneOf("1m30s", "1m30s"),
	"ORDER_INTERVAL":       oneOf("20ms", "20ms", "@every 5s", "@every 5s"),
	"HTTP_ADDRESS":         oneOf("[::]:4196", "[::]:4196", ":80", ":80", "127.0.0.1:0", "127.0.0.1:0"),
	"REDRIVE_WHERE":        line,
	"REDRIVE_MAP":          line,
	"LOG_LEVEL":            oneOf("debug", "DEBUG", "WARN", "WARN"),
}

// line is Bloblang on one line, as REDRIVE_WHERE and REDRIVE_MAP stand in a block of YAML.
var line = rapid.Custom(func(t *rapid.T) setting {
	piece := rapid.SampledFrom([]string{" ", `"a"`, `\`, "'", " #b", ": ", "- ", "~", "yes", "%", "{", "}", "[", ",", "|", ">", "@", "$", "${X}", "ü", "\t"})
	text := "this" + strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), "") + ")"
	return setting{text, text}
})

func draw(t *rapid.T, name string) setting {
	if g, ok := values[name]; ok {
		return g.Draw(t, name)
	}
	text := hostile().Draw(t, name)
	if strings.HasSuffix(name, "_TOPIC") || strings.HasPrefix(name, "REDRIVE_") || slices.Contains([]string{"DLQ_DIALECT", "FAILURE_MODE", "SCHEMA_REGISTRY_URL", "SKIP_UNREADABLE_STATE"}, name) {
		return setting{text, strings.Trim(text, " \t\r\n\v\f\u00a0\ufeff")}
	}
	return setting{text, text}
}

var reference = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)(?::([^}]*))?\}`)

// wanted is what a config is to become: each scalar with what the variables in it mean. Numbers
// and booleans are those that stand alone, without quotes.
func wanted(t require.TestingT, text []byte, set map[string]setting) any {
	var document yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &document))
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		for _, child := range n.Content {
			walk(child)
		}
		if n.Kind != yaml.ScalarNode || !reference.MatchString(n.Value) {
			return
		}
		n.Value = reference.ReplaceAllStringFunc(n.Value, func(ref string) string {
			match := reference.FindStringSubmatch(ref)
			if s := set[match[1]]; s.meaning != "" {
				return s.meaning
			}
			return match[2]
		})
		switch {
		case n.Style == 0:
			n.Tag = ""
		case n.Style&yaml.LiteralStyle != 0 && n.Value == "\n":
			n.Value = "" // a block of nothing
		}
	}
	walk(&document)
	var tree any
	require.NoError(t, document.Decode(&tree))
	return tree
}

// got is what the host reads of a config: it is a field of a component that takes anything.
func got(t require.TestingT, text []byte, lookup environment.Lookup) any {
	var tree any
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterInput("whole", service.NewConfigSpec().Field(service.NewAnyField("")),
		func(conf *service.ParsedConfig, _ *service.Resources) (_ service.Input, err error) {
			if tree, err = conf.FieldAny(); err == nil {
				err = errors.New("seen")
			}
			return nil, err
		}))
	find, err := environment.InYAML(lookup, text)
	require.NoError(t, err)
	b := env.NewStreamBuilder()
	b.SetEnvVarLookupFunc(find)
	require.NoError(t, b.SetYAML("http: {enabled: false}\nlogger: {level: NONE}\noutput: {drop: {}}\ninput:\n  whole:\n    "+strings.ReplaceAll(string(text), "\n", "\n    ")))
	stream, err := b.Build()
	require.NoError(t, err)
	require.ErrorContains(t, stream.Run(context.Background()), "seen")
	return tree
}

func shipped(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"topics.yaml": config.Topics}
	paths, err := fs.Glob(config.Files, "pipelines/*.yaml")
	require.NoError(t, err)
	for _, path := range paths {
		text, err := config.Files.ReadFile(path)
		require.NoError(t, err)
		all[path] = text
	}
	require.Greater(t, len(all), 4)
	return all
}

func TestPipelinesGetWhatIsSet(t *testing.T) {
	for path, text := range shipped(t) {
		if strings.HasSuffix(path, "_test.yaml") {
			continue
		}
		names := map[string]bool{}
		for _, match := range reference.FindAllSubmatch(text, -1) {
			names[string(match[1])] = true
		}
		delete(names, "NAME") // of a comment
		t.Run(path, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				set := map[string]setting{}
				for _, name := range slices.Sorted(maps.Keys(names)) {
					switch rapid.IntRange(0, 9).Draw(t, "how "+name) {
					case 0: // not set
					case 1:
						set[name] = setting{} // empty
					default:
						set[name] = draw(t, name)
					}
				}
				lookup := func(name string) (string, bool) { s, ok := set[name]; return s.value, ok }
				require.Equal(t, wanted(t, text, set), got(t, text, lookup))
			})
		})
	}
}

// leaves returns the commands that have no others below them.
func leaves(all ...*cli.Command) []*cli.Command {
	var found []*cli.Command
	for _, c := range all {
		if len(c.Subcommands) == 0 {
			found = append(found, c)
		}
		found = append(found, leaves(c.Subcommands...)...)
	}
	return found
}

func TestCommandsGetWhatIsSet(t *testing.T) {
	read := map[string]bool{}
	for _, c := range leaves(aggregates.Command(), audit.Command(), dlq.Command(), topics.Command()) {
		for _, f := range c.Flags {
			if doc, ok := f.(cli.DocGenerationFlag); ok {
				for _, name := range doc.GetEnvVars() {
					read[name] = true
				}
			}
		}
	}
	for name := range read {
		t.Setenv(name, "") // given back at the end
	}
	rapid.Check(t, func(t *rapid.T) {
		set := map[string]setting{}
		for _, name := range slices.Sorted(maps.Keys(read)) {
			set[name] = draw(t, name)
			if rapid.IntRange(0, 9).Draw(t, "how "+name) == 0 {
				set[name] = setting{}
			}
		}
		for _, c := range leaves(aggregates.Command(), audit.Command(), dlq.Command(), topics.Command()) {
			for name, s := range set {
				require.NoError(t, os.Setenv(name, s.value))
			}
			called := false
			c.Action = func(ctx *cli.Context) error {
				called = true
				for _, f := range c.Flags {
					doc, ok := f.(cli.DocGenerationFlag)
					if !ok || len(doc.GetEnvVars()) == 0 {
						continue
					}
					want := set[doc.GetEnvVars()[0]].meaning
					if want == "" {
						require.False(t, ctx.IsSet(f.Names()[0]), "%s of %s: %v is not set", f.Names()[0], c.Name, doc.GetEnvVars())
						continue
					}
					require.Equal(t, want, text(ctx.Value(f.Names()[0])), "%s of %s", f.Names()[0], c.Name)
				}
				return nil
			}
			app := &cli.App{Name: "orderflow", Writer: io.Discard, ErrWriter: io.Discard, Commands: []*cli.Command{c}}
			require.NoError(t, app.Run([]string{"orderflow", c.Name}))
			require.True(t, called)
		}
	})
}

func text(value any) string {
	if f, ok := value.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

func TestTheConfigsOfTheArgumentsAreFound(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yml", "sub/c.yaml", "d.env"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(name), 0o600))
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"a file":             {[]string{"run", "-e", dir + "/d.env", dir + "/a.yaml"}, "a.yaml"},
		"of a flag":          {[]string{"-c=" + dir + "/a.yaml", "run", "--resources", dir + "/b.yml"}, "a.yaml b.yml"},
		"of a pattern":       {[]string{"run", "-r", dir + "/*.y*ml"}, "a.yaml b.yml"},
		"a directory":        {[]string{"streams", dir}, "a.yaml b.yml sub/c.yaml"},
		"all of a directory": {[]string{"lint", dir + "/..."}, "a.yaml b.yml sub/c.yaml"},
		"nothing":            {[]string{"run", dir + "/none.yaml", "["}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			for _, text := range configs(test.args) {
				found = append(found, string(text))
			}
			require.Equal(t, test.want, strings.Join(found, " "))
		})
	}
}
