// Package readme_test holds the documentation to what the code does: README.md, ARCHITECTURE.md
// and the READMEs of the plugins.
package readme_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// page is what a Markdown file holds, as far as these tests look at it.
type page struct {
	path   string // from the module's directory
	text   string
	prose  string // the text without its fenced blocks
	blocks []block
}

// block is a fenced block.
type block struct {
	lang, body string
	line       int
	section    string // the heading that it stands under
}

// table is a table, by its column titles.
type table struct {
	columns []string
	rows    [][]string
}

func parse(path, text string) page {
	p := page{path: path, text: text}
	var prose strings.Builder
	var open *block
	section := ""
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			open = &block{lang: fence, line: i + 1, section: section}
		case isFence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.body += line + "\n"
		default:
			if title, ok := strings.CutPrefix(line, "## "); ok {
				section = title
			}
			prose.WriteString(line + "\n")
		}
	}
	p.prose = prose.String()
	return p
}

// tables returns the tables of the prose.
func (p page) tables() []table {
	var all []table
	var current *table
	for line := range strings.SplitSeq(p.prose, "\n") {
		if !strings.HasPrefix(line, "|") {
			current = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], "| ")
		}
		switch {
		case current == nil:
			all = append(all, table{columns: cells})
			current = &all[len(all)-1]
		case strings.Trim(line, "|- ") == "":
		default:
			current.rows = append(current.rows, cells)
		}
	}
	return all
}

// table returns the table whose first column has this title.
func (p page) table(t *testing.T, first string) table {
	t.Helper()
	for _, candidate := range p.tables() {
		if candidate.columns[0] == first {
			return candidate
		}
	}
	t.Fatalf("%s has no table with the first column %q", p.path, first)
	return table{}
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// spans returns what stands in backticks.
func spans(text string) []string {
	var all []string
	for _, match := range codeSpan.FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	return all
}

// anchors returns the names that links to a page's headings have.
func (p page) anchors() []string {
	var all []string
	for line := range strings.SplitSeq(p.prose, "\n") {
		if title := strings.TrimLeft(line, "#"); title != line {
			title = strings.ToLower(strings.TrimSpace(title))
			title = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(title, "")
			all = append(all, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return all
}

// read returns the page at a path from the module's directory.
func read(t *testing.T, path string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(child.Root(t), path))
	require.NoError(t, err)
	return parse(path, string(text))
}

// pages returns all pages.
func pages(t *testing.T) []page {
	t.Helper()
	root := child.Root(t)
	plugins, err := filepath.Glob(filepath.Join(root, "plugins", "*", "README.md"))
	require.NoError(t, err)
	require.NotEmpty(t, plugins)
	all := []page{read(t, "README.md"), read(t, "ARCHITECTURE.md")}
	for _, path := range plugins {
		relative, err := filepath.Rel(root, path)
		require.NoError(t, err)
		all = append(all, read(t, relative))
	}
	return all
}

func TestParsingFindsBlocksTablesAndHeadings(t *testing.T) {
	p := parse("x.md", "# A\n\n## What's `new`, and old\n\n```sh\nls # | a |\n```\n\n| a | b |\n|---|---|\n| `x` | y \\| z |\n\nend\n")
	require.Equal(t, []block{{lang: "sh", body: "ls # | a |\n", line: 5, section: "What's `new`, and old"}}, p.blocks)
	require.Equal(t, []string{"a", "whats-new-and-old"}, p.anchors())
	require.Len(t, p.tables(), 1)
	require.Equal(t, []string{"a", "b"}, p.table(t, "a").columns)
	require.Equal(t, "`x`", p.table(t, "a").rows[0][0])
}

func TestEveryFenceIsClosedAndHasAKnownLanguage(t *testing.T) {
	for _, p := range pages(t) {
		require.Zero(t, strings.Count("\n"+p.text, "\n```")%2, "%s: a fence is not closed", p.path)
		for _, b := range p.blocks {
			require.True(t, slices.Contains([]string{"", "text", "yaml", "diff", "sh"}, b.lang), "%s:%d: no test knows blocks of %q", p.path, b.line, b.lang)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	root := child.Root(t)
	for _, p := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(p.prose, -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			path, anchor, hasAnchor := strings.Cut(match[1], "#")
			target := p.path
			if path != "" {
				target = filepath.Join(filepath.Dir(p.path), path)
				_, err := os.Stat(filepath.Join(root, target))
				require.NoError(t, err, "%s: link %s", p.path, match[1])
			}
			if hasAnchor {
				require.Contains(t, read(t, target).anchors(), anchor, "%s: link %s", p.path, match[1])
			}
		}
	}
}

// sourcePath is a path in the module, in backticks.
var sourcePath = regexp.MustCompile(`^(cmd|config|internal|plugins|test|\.ci)/[\w./-]*$`)

func TestPathsThatAreNamedExist(t *testing.T) {
	root := child.Root(t)
	for _, p := range pages(t) {
		for _, span := range spans(p.prose) {
			if sourcePath.MatchString(span) {
				_, err := os.Stat(filepath.Join(root, span))
				require.NoError(t, err, "%s names %s", p.path, span)
			}
		}
	}
}
