// Package environment reads Orderflow's variables, in one way for pipelines and for commands:
// what people leave around a value is taken off, a value that cannot be is an error which names
// the variable, and a variable that is empty is as one that is not set.
package environment

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// Lookup finds a variable, as os.LookupEnv does.
type Lookup = func(name string) (value string, ok bool)

// byteOrderMark is what some editors on Windows put before the first line of a file.
const byteOrderMark = "\ufeff"

// Process finds variables of this process, also the first one of a .env file that begins with a
// byte order mark.
func Process(name string) (string, bool) {
	if value, ok := os.LookupEnv(name); ok {
		return value, true
	}
	return os.LookupEnv(byteOrderMark + name)
}

// Value returns what a value means for a variable. Variables that are not Orderflow's, and those
// that are free text (a password, a path, a group), are taken as they are.
func Value(name, value string) (string, error) {
	k := kinds[name]
	if !utf8.ValidString(value) { // no YAML can hold it
		return "", wrong(name, value, k.secret, "expected UTF-8")
	}
	if k.read == nil {
		return value, nil
	}
	if value = trim(value); value == "" {
		return "", nil
	}
	meaning, expected := k.read(value)
	if expected != "" {
		return "", wrong(name, value, k.secret, expected)
	}
	return meaning, nil
}

func wrong(name, value string, secret bool, expected string) error {
	if secret {
		return fmt.Errorf("variable %s: %s", name, expected)
	}
	return fmt.Errorf("variable %s: %q, %s", name, value, expected)
}

// Clean replaces these variables of the process by what they mean, and removes those that are
// empty, so that whoever reads them next needs no care.
func Clean(names ...string) error {
	for _, name := range names {
		value, ok := Process(name)
		if !ok {
			continue
		}
		value, err := Value(name, value)
		if err != nil {
			return err
		}
		if value == "" {
			err = os.Unsetenv(name)
		} else {
			err = os.Setenv(name, value)
		}
		if err != nil {
			return fmt.Errorf("variable %s: %w", name, err)
		}
	}
	return nil
}

func trim(value string) string {
	return strings.TrimFunc(value, func(r rune) bool { return r == '\ufeff' || strings.ContainsRune(" \t\r\n\v\f\u00a0", r) })
}
