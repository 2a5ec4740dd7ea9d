package readme_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// command is one line of a block of shell commands.
type command struct {
	where int      // line of the block
	env   []string // names of variables that it sets
	words []string
}

// word is a word of a command line; in quotes it may hold spaces.
var word = regexp.MustCompile(`(?:[^\s"']|"[^"]*"|'[^']*')+`)

var assignment = regexp.MustCompile(`^([A-Z][A-Z0-9_]*)=`)

func commands(p page) []command {
	var all []command
	for _, b := range p.blocks {
		if b.lang != "sh" {
			continue
		}
		for line := range strings.Lines(b.body) {
			c := command{where: b.line}
			for _, w := range word.FindAllString(strings.TrimSpace(line), -1) {
				if m := assignment.FindStringSubmatch(w); m != nil && (len(c.words) == 0 || c.words[0] == "export") {
					c.env = append(c.env, m[1])
					continue
				}
				c.words = append(c.words, w)
			}
			all = append(all, c)
		}
	}
	return all
}

// help returns what a command says of itself.
func help(t *testing.T, words ...string) (string, bool) {
	t.Helper()
	out, err := exec.Command(child.Orderflow(t), slices.Concat(words, []string{"--help"})...).CombinedOutput()
	return string(out), err == nil && strings.Contains(string(out), "orderflow "+strings.Join(words, " ")+" ")
}

// checkOrderflow holds a call of the binary to its commands, its flags and its files.
func checkOrderflow(t *testing.T, words []string) {
	t.Helper()
	require.NotEmpty(t, words)
	name := words[:1]
	if words[0] == "topics" || words[0] == "dlq" {
		name = words[:2]
	}
	usage, ok := help(t, name...)
	require.True(t, ok, "orderflow has no command %v", name)
	for _, w := range words[len(name):] {
		if flag, isFlag := strings.CutPrefix(w, "--"); isFlag {
			flag, _, _ = strings.Cut(flag, "=")
			require.Regexp(t, `(?m)^\s+--`+regexp.QuoteMeta(flag)+`\b`, usage, "flag %s of orderflow %v", w, name)
		}
		if strings.Contains(w, ".yaml") {
			found, err := filepath.Glob(filepath.Join(child.Root(t), w))
			require.NoError(t, err)
			require.NotEmpty(t, found, "file %s of orderflow %v", w, name)
		}
	}
}

func TestCommandsExist(t *testing.T) {
	root, told := child.Root(t), documented(t)
	exists := func(path string) {
		_, err := os.Stat(filepath.Join(root, path))
		require.NoError(t, err)
	}
	topics := func(c command) {
		i := slices.IndexFunc(c.words, func(w string) bool { return w == "-t" || w == "consume" })
		require.Positive(t, i, c.words)
		text, err := os.ReadFile(filepath.Join(root, "config", "topics.yaml"))
		require.NoError(t, err)
		require.Contains(t, string(text), ":"+c.words[i+1]+"}", "a topic that topics.yaml does not list")
	}
	all := commands(read(t, "README.md"))
	require.NotEmpty(t, all)
	for _, c := range all {
		for _, name := range c.env {
			require.Contains(t, told, name, "README.md:%d sets a variable that nothing reads", c.where)
		}
		switch line := strings.Join(c.words, " "); {
		case c.words[0] == "export":
		case c.words[0] == "./orderflow":
			checkOrderflow(t, c.words[1:])
		case strings.HasPrefix(line, "go run ./cmd/orderflow "):
			checkOrderflow(t, c.words[3:])
		case line == "go build -o orderflow ./cmd/orderflow":
			exists("cmd/orderflow/main.go")
		case line == "go test ./...":
		case line == "bash .ci/run":
			exists(".ci/run")
		case c.words[0] == "make":
			require.Regexp(t, `(?m)^`+regexp.QuoteMeta(c.words[1])+`:`, read(t, "Makefile"), "a target that the Makefile lacks")
		case strings.HasPrefix(line, "docker compose up"):
			exists("docker-compose.yml")
		case c.words[0] == "kcat", c.words[0] == "rpk":
			topics(c)
		default:
			t.Errorf("README.md:%d: no test knows the command %q", c.where, line)
		}
	}
}

func TestCommandsOfTheTableExist(t *testing.T) {
	for _, row := range read(t, "README.md").table(t, "command").rows {
		for _, name := range spans(row[0]) {
			words := strings.Fields(strings.TrimPrefix(name, "orderflow "))
			_, ok := help(t, words...)
			require.True(t, ok, "orderflow has no command %v", words)
		}
	}
}
