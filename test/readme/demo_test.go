package readme_test

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// output returns the block of output in a section that begins with the given text.
func output(t *testing.T, p page, section, begin string) string {
	t.Helper()
	for _, b := range p.blocks {
		if b.lang == "text" && b.section == section && strings.HasPrefix(strings.TrimSpace(b.body), begin) {
			return b.body
		}
	}
	t.Fatalf("section %q has no output that begins with %q", section, begin)
	return ""
}

// changing matches lines of the demo that are others in each run: times, addresses, progress, and
// which of the dead letters is shown.
var changing = regexp.MustCompile(`\d{4}-\d\d-\d\dT|\d ?ms\b|127\.0\.0\.1|^ *\d+\.\ds |^dlq_(id|partition|offset)|^key|^value|^ *order-|^In order`)

// place is that of a record, at the begin of a line.
var place = regexp.MustCompile(`(?m)^\d+/\d+ `)

// What the README shows is what a reader will see: the figures of a seed are always the same.
func TestOutputIsThatOfTheDemo(t *testing.T) {
	p := read(t, "README.md")
	demo := child.Start(t, child.Command{
		Name: "demo", Path: child.Orderflow(t), Args: []string{"demo", "--keep", "--interval", "2ms"}, Dir: t.TempDir(),
	})
	demo.AwaitLog(t, "== Still running", child.Patience)
	address := regexp.MustCompile(`Kafka broker (\S+),`).FindStringSubmatch(demo.Log())
	require.Len(t, address, 2)

	for name, begin := range map[string]string{"aggregates": "count", "audit": "orders/0"} {
		out, err := exec.Command(child.Orderflow(t), name, "--brokers", address[1]).Output()
		require.NoError(t, err, name)
		require.Equal(t, output(t, p, "Commands", begin), string(out), "orderflow %s", name)
	}
	checkDLQ(t, p, address[1], demo.Log())
	checkKcat(t, p, address[1])
	checkDryRun(t, p, demo.Log())

	require.NoError(t, demo.Signal(syscall.SIGINT))
	require.NoError(t, demo.Wait(child.Patience))
	printed := strings.Split(demo.Log(), "\n")
	same := 0
	for line := range strings.Lines(output(t, p, "What you see", "Orderflow demo")) {
		if line = strings.TrimRight(line, "\n"); line != "" && !changing.MatchString(line) {
			require.Contains(t, printed, line)
			same++
		}
	}
	require.Greater(t, same, 30)
}

// checkDLQ runs the README's commands on dead letters.
func checkDLQ(t *testing.T, p page, address, log string) {
	t.Helper()
	registry := regexp.MustCompile(`schema registry (\S+?)\.\n`).FindStringSubmatch(log)
	require.Len(t, registry, 2)
	// Others in each run: times, in which order the letters were written, and how wide a rate is.
	changing := regexp.MustCompile(`\d{4}-\d\d-\d\dT|^letter `)
	steady := func(text string) (lines []string) {
		for line := range strings.Lines(text) {
			if !changing.MatchString(line) {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
		}
		return lines
	}
	begins := map[string]string{"dlq list": "7 open", "dlq list --all": "3 open", "dlq show": "letter"}
	for _, c := range commands(p) {
		if len(c.words) < 3 || c.words[1] != "dlq" || c.words[2] == "redrive" || c.words[2] == "runs" {
			continue
		}
		line := strings.Join(c.words[1:min(4, len(c.words))], " ")
		if strings.HasPrefix(line, "dlq show") {
			line = "dlq show"
		}
		begin, known := begins[line]
		require.True(t, known, "no test runs %v", c.words)
		delete(begins, line)
		args := []string{}
		for _, w := range c.words[1:] {
			args = append(args, strings.Trim(w, "'"))
		}
		out, err := exec.Command(child.Orderflow(t), append(args, "--brokers", address, "--registry", registry[1])...).Output()
		require.NoError(t, err, c.words)
		require.Equal(t, steady(output(t, p, "An order failed: what now", begin)), steady(string(out)), c.words)
	}
	require.Empty(t, begins, "commands that the README does not show")
}

// checkDryRun runs the README's dry run of a redrive, whose output tells the same of each demo.
func checkDryRun(t *testing.T, p page, log string) {
	t.Helper()
	found := regexp.MustCompile(`Kafka broker (\S+), schema registry (\S+)\.`).FindStringSubmatch(log)
	require.Len(t, found, 3)
	runs := 0
	for _, c := range commands(p) {
		if !slices.Contains(c.words, "--dry-run") {
			continue
		}
		runs++
		var args []string
		for _, w := range c.words[1:] {
			args = append(args, strings.Trim(w, "'"))
		}
		out, err := exec.Command(child.Orderflow(t), append(args, "--brokers", found[1], "--registry", found[2])...).Output()
		require.NoError(t, err, "%v", args)
		// Which partition is read first is not always the same.
		require.ElementsMatch(t, strings.Split(output(t, p, "An order failed: what now", "orders/1/5"), "\n"), strings.Split(string(out), "\n"))
	}
	require.Equal(t, 1, runs)
}

// checkKcat runs the README's kcat commands, where kcat is there.
func checkKcat(t *testing.T, p page, address string) {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		t.Log("kcat is not installed: its commands are not run")
		return
	}
	for _, c := range commands(p) {
		if c.words[0] != "kcat" {
			continue
		}
		args := make([]string, 0, len(c.words))
		for _, w := range c.words[1:] {
			args = append(args, strings.Trim(strings.ReplaceAll(w, "localhost:9092", address), "'"))
		}
		out, err := exec.Command(path, args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", c.words, out)
		begin := map[bool]string{true: "0/0 ", false: "order-"}[strings.Contains(c.words[len(c.words)-1], "%p")]
		first, _, _ := strings.Cut(output(t, p, "Read the DLQ", begin), "\n")
		// Where in its partition a dead letter stands is another place in each run.
		require.Contains(t, strings.Split(place.ReplaceAllString(string(out), ""), "\n"), place.ReplaceAllString(first, ""), c.words)
	}
}
