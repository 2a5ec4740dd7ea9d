// Command licences reads the licences of all that is linked into orderflow, of its modules and of
// each file that is compiled, and fails on what nobody has looked at. It writes the notices and the
// bill of materials that are shipped with the binary:
//
//	go run ./test/licences         check, also whether both are up to date
//	go run ./test/licences -write  write them
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	command     = "./cmd/orderflow"
	noticesName = "THIRD_PARTY_NOTICES"
	bomName     = "sbom.cdx.json"
)

func main() {
	write := flag.Bool("write", false, "write "+noticesName+" and "+bomName)
	flag.Parse()
	if err := run(".", *write); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root string, write bool) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	var problems []error
	for name, content := range files {
		path := filepath.Join(root, name)
		if write {
			problems = append(problems, os.WriteFile(path, []byte(content), 0o644))
			continue
		}
		is, err := os.ReadFile(path)
		if err != nil || string(is) != content {
			problems = append(problems, errors.Join(fmt.Errorf("%s is not what the linked modules ask for: make licences", name), err))
		}
	}
	return errors.Join(problems...)
}

// generate returns what is shipped, by name, unless something linked is not permitted.
func generate(root string) (map[string]string, error) {
	k, err := readKnown(knownFile)
	if err != nil {
		return nil, fmt.Errorf("reading known.yaml: %w", err)
	}
	modules, err := linked(root, command)
	if err != nil {
		return nil, err
	}
	if err := describeStandard(root, modules); err != nil {
		return nil, fmt.Errorf("looking for the standard library: %w", err)
	}
	findings, err := judge(modules, k)
	if err != nil {
		return nil, err
	}
	bom, err := billOfMaterials(findings)
	if err != nil {
		return nil, fmt.Errorf("writing bill of materials: %w", err)
	}
	return map[string]string{noticesName: notices(findings), bomName: bom}, nil
}

// describeStandard fills in where the standard library is. Its version is the one that go.mod asks
// for, whichever newer one runs here.
func describeStandard(root string, modules []module) error {
	ask := func(args ...string) (string, error) {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	goroot, err := ask("env", "GOROOT")
	if err != nil {
		return err
	}
	version, err := ask("list", "-m", "-f", "{{.GoVersion}}")
	if err != nil {
		return err
	}
	std := &modules[0]
	std.dir, std.version, std.packages = goroot, version, []string{"."}
	return nil
}
