package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/orderflow/orderflow/cmd/orderflow/environment"
)

// variables is how the host finds the environment's variables that configs refer to. What a
// value has to look like depends on the text around it (see environment.InYAML), and the host
// tells only its name. So the files that the arguments name are read here too, at the first
// look: a .env file was read by then.
type variables struct {
	args []string

	once sync.Once
	find environment.Lookup
	err  error
}

func (v *variables) read() {
	v.once.Do(func() { v.find, v.err = environment.InYAML(environment.Process, configs(v.args)...) })
}

func (v *variables) lookup(_ context.Context, name string) (string, bool) {
	v.read()
	return v.find(name)
}

// check fails if a variable has a value that cannot be, before a pipeline is run.
func (v *variables) check(*cli.Context) error {
	v.read()
	return v.err
}

// configs returns the texts of all YAML files that are named, by a pattern or a directory too.
func configs(args []string) [][]byte {
	var texts [][]byte
	for _, arg := range args {
		if _, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "-") {
			arg = value
		}
		paths, _ := filepath.Glob(strings.TrimSuffix(arg, "...")) // a wrong pattern is the host's to tell
		for _, root := range paths {
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if ext := filepath.Ext(path); err != nil || d.IsDir() || ext != ".yaml" && ext != ".yml" {
					return nil
				}
				if text, err := os.ReadFile(path); err == nil {
					texts = append(texts, text)
				}
				return nil
			})
		}
	}
	return texts
}
