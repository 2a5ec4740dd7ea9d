package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// module is a module of which at least one package is linked.
type module struct {
	path, version, dir string
	// packages are the folders of the linked packages, from the module's root.
	packages []string
	// files are the files that are compiled, from the module's root.
	files []string
}

// architectures are those that images are built for: which files are compiled depends on it.
var architectures = []string{"amd64", "arm64"}

// linked lists the modules that a command is linked from, other than its own, sorted by path.
// The first is the standard library.
func linked(root, command string) ([]module, error) {
	byPath := map[string]*module{}
	for _, arch := range architectures {
		list := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Standard,Module,GoFiles,SFiles", command)
		list.Dir = root
		list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		var problem bytes.Buffer
		list.Stderr = &problem
		out, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("listing packages of %s: %w: %s", command, err, problem.String())
		}
		if err := add(byPath, out); err != nil {
			return nil, fmt.Errorf("listing packages of %s: %w", command, err)
		}
	}
	all := make([]module, 0, len(byPath))
	for _, m := range byPath {
		slices.Sort(m.files)
		m.files = slices.Compact(m.files)
		slices.Sort(m.packages)
		m.packages = slices.Compact(m.packages)
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b module) int {
		if a.path == standard || b.path == standard {
			return cmp.Compare(b.path, standard) - cmp.Compare(a.path, standard)
		}
		return cmp.Compare(a.path, b.path)
	})
	return all, nil
}

// standard is the name by which scanners know the standard library and the runtime.
const standard = "stdlib"

func add(byPath map[string]*module, list []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(list))
	for {
		var p struct {
			ImportPath, Dir string
			Standard        bool
			GoFiles, SFiles []string
			Module          *struct {
				Path, Version, Dir string
				Main               bool
				Replace            *struct{ Path string }
			}
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch {
		case p.Standard:
			// One licence covers all of it: the text is read, its files are not.
			byPath[standard] = &module{path: standard}
			continue
		case p.Module == nil || p.Module.Main:
			continue
		case p.Module.Replace != nil:
			return fmt.Errorf("module %s is replaced by %s, whose licence nobody has looked at", p.Module.Path, p.Module.Replace.Path)
		}
		m := byPath[p.Module.Path]
		if m == nil {
			m = &module{path: p.Module.Path, version: p.Module.Version, dir: p.Module.Dir}
			byPath[m.path] = m
		}
		folder, err := filepath.Rel(m.dir, p.Dir)
		if err != nil {
			return err
		}
		m.packages = append(m.packages, filepath.ToSlash(folder))
		for _, name := range slices.Concat(p.GoFiles, p.SFiles) {
			m.files = append(m.files, path.Join(filepath.ToSlash(folder), name))
		}
	}
}

// text is a file in which somebody grants something, or wants to be named.
type text struct {
	name, content string
}

// legal are the names that such files have. A file of code is none.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense|notice|copyright)`)

// texts reads the legal files of the folders from each linked package up to the module's root.
func (m module) texts() ([]text, error) {
	folders := map[string]bool{}
	for _, folder := range m.packages {
		for ; folder != "."; folder = path.Dir(folder) {
			folders[folder] = true
		}
		folders["."] = true
	}
	var all []text
	for folder := range folders {
		entries, err := os.ReadDir(filepath.Join(m.dir, folder))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() || !legal.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			t, err := readText(m.dir, path.Join(folder, e.Name()))
			if err != nil {
				return nil, err
			}
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b text) int { return cmp.Compare(a.name, b.name) })
	return all, nil
}

func readText(dir, name string) (text, error) {
	content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	return text{name: name, content: tidy(string(content))}, err
}

// tidy leaves the differences between texts that nobody sees.
func tidy(s string) string {
	lines := strings.Split(strings.ReplaceAll(strings.TrimPrefix(s, "\ufeff"), "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\f")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n") + "\n"
}
