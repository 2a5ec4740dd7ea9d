package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsShippedIsUpToDate(t *testing.T) {
	require.NoError(t, run("../..", false))
}

// The reason in known.yaml says so: were more of that file linked, it would have to be read again.
func TestOneFunctionOfTheKnownFileIsLinked(t *testing.T) {
	binary := os.Getenv("ORDERFLOW_BIN")
	if binary == "" {
		t.Skip("ORDERFLOW_BIN names no binary")
	}
	symbols, err := exec.Command("go", "tool", "nm", binary).Output()
	require.NoError(t, err)
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m) T \S+/connect/v4/internal/serviceaccount\.(\w+)`).FindAllStringSubmatch(string(symbols), -1) {
		found[match[1]] = true
	}
	require.Equal(t, map[string]bool{"GetTokenSource": true}, found)
}

func TestCheckHeader(t *testing.T) {
	tests := map[string]struct{ content, problem string }{
		"nothing at all":            {"package a\n", ""},
		"a build constraint":        {"//go:build linux\n\npackage a\n", ""},
		"a copyright line":          {"// Copyright 2020 Somebody\npackage a\n", ""},
		"Apache":                    {"// Licensed under the Apache License, Version 2.0 (the \"License\");\n// you may not use\npackage a\n", ""},
		"Apache over two lines":     {"/*\n * Licensed under the Apache License, Version\n * 2.0 (the \"License\")\n */\npackage a\n", ""},
		"an identifier":             {"// SPDX-License-Identifier: MPL-2.0\npackage a\n", ""},
		"BSD as the Go authors do":  {"// Use of this source code is governed by a BSD-style\n// license that can be found in the LICENSE file.\n\npackage a\n", ""},
		"assembly":                  {"// SPDX-License-Identifier: MIT\n#include \"textflag.h\"\nTEXT ·f(SB), NOSPLIT, $0\n", ""},
		"code that says enterprise": {"package a\n\nconst s = \"Redpanda Enterprise\"\n", ""},
		"an enterprise file":        {"// Licensed as a Redpanda Enterprise file under the Redpanda Community\n// License\npackage a\n", `its header says "Redpanda Enterprise"`},
		"a community licence":       {"// Licensed under the Confluent Community\n// License\npackage a\n", `its header says "Community License"`},
		"a business source licence": {"/*\n * Use of this software is governed by the Business Source License\n * included in the file licenses/BSL.md\n * ... the Apache License, Version 2.0\n */\npackage a\n", `its header says "Business Source License"`},
		"copyleft":                  {"// SPDX-License-Identifier: AGPL-3.0-only\npackage a\n", `its header says "AGPL"`},
		"an unknown identifier":     {"// SPDX-License-Identifier: CC-BY-NC-4.0\npackage a\n", "speaks of a licence in an unknown form"},
		"a longer identifier":       {"// SPDX-License-Identifier: MIT-Modern-Variant\npackage a\n", "speaks of a licence in an unknown form"},
		"words of their own":        {"// You need a licence from us.\npackage a\n", `unknown form: "You need a licence from us."`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := checkHeader(test.content)
			if test.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.problem)
		})
	}
}

// isc is the shortest licence that is permitted.
const isc = `ISC License

Copyright (c) 2020 Somebody

Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee
is hereby granted, provided that the above copyright notice and this permission notice appear in all
copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE
INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE
FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM
LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
`

const enterprise = "// Licensed as a Redpanda Enterprise file\npackage a\n"

// folder writes a module and returns it as one that is linked.
func folder(t *testing.T, files map[string]string) module {
	t.Helper()
	m := module{path: "example.org/a", version: "v1.0.0", dir: t.TempDir(), packages: []string{"."}}
	for name, content := range files {
		path := filepath.Join(m.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		if strings.HasSuffix(name, ".go") {
			m.files = append(m.files, name)
			m.packages = append(m.packages, filepath.Dir(name))
		}
	}
	return m
}

func TestJudge(t *testing.T) {
	listed := knownFileOf{File: "example.org/a/b/b.go", Licence: "LicenseRef-E", Header: headerHash(enterprise), Reason: "because"}
	other := listed
	other.Header = headerHash("// Another header\npackage a\n")
	sound := map[string]string{"LICENSE": isc, "a.go": "package a\n"}
	tests := map[string]struct {
		files   map[string]string
		known   known
		ids     []string
		problem string
	}{
		"a permitted licence":             {sound, known{}, []string{"ISC"}, ""},
		"a notice is passed on":           {map[string]string{"LICENSE": isc, "NOTICE": "Made by us."}, known{}, []string{"ISC"}, ""},
		"no licence":                      {map[string]string{"a.go": "package a\n"}, known{}, nil, "module example.org/a v1.0.0: no licence found"},
		"a licence of their own":          {map[string]string{"LICENSE": "Ask us."}, known{}, nil, "file LICENSE: 0% of the text is a licence that is known"},
		"one in a folder below":           {map[string]string{"LICENSE": isc, "b/b.go": "package b\n", "b/COPYING": "Ask us."}, known{}, nil, "file b/COPYING: "},
		"one in a folder that is not":     {map[string]string{"LICENSE": isc, "a.go": "package a\n", "b/COPYING": "Ask us."}, known{}, []string{"ISC"}, ""},
		"a licence elsewhere":             {map[string]string{"licenses/isc.txt": isc}, known{Modules: []knownModule{{"example.org/a", []string{"licenses/isc.txt"}, "because"}}}, []string{"ISC"}, ""},
		"a header that is not permitted":  {map[string]string{"LICENSE": isc, "b/b.go": enterprise}, known{}, nil, `file example.org/a/b/b.go: its header says "Redpanda Enterprise" (header_sha256 ` + listed.Header},
		"one that is known":               {map[string]string{"LICENSE": isc, "b/b.go": enterprise}, known{Files: []knownFileOf{listed}}, []string{"ISC", "LicenseRef-E"}, ""},
		"one that was known otherwise":    {map[string]string{"LICENSE": isc, "b/b.go": enterprise}, known{Files: []knownFileOf{other}}, nil, "file example.org/a/b/b.go: its header says"},
		"a known file that is not linked": {sound, known{Files: []knownFileOf{listed}}, nil, "file example.org/a/b/b.go is not linked, or its header is in order: take it out"},
		"a known module that is not":      {sound, known{Modules: []knownModule{{"example.org/z", []string{"L"}, "because"}}}, nil, "module example.org/z is not linked: take it out"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			findings, err := judge([]module{folder(t, test.files)}, test.known)
			if test.problem != "" {
				require.ErrorContains(t, err, test.problem)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.ids, findings[0].ids)
		})
	}
}

func TestShippedTextsNameTheirModules(t *testing.T) {
	one := folder(t, map[string]string{"LICENSE": isc, "NOTICE": "Made by us.", "b/b.go": enterprise})
	two := folder(t, map[string]string{"LICENSE": strings.ReplaceAll(isc, "\n", "\r\n")})
	two.path = "example.org/two"
	findings, err := judge([]module{one, two}, known{Files: []knownFileOf{
		{File: "example.org/a/b/b.go", Licence: "LicenseRef-E", Header: headerHash(enterprise), Reason: "because of that"},
	}})
	require.NoError(t, err)
	text := notices(findings)
	require.Contains(t, text, "example.org/a v1.0.0    ISC, LicenseRef-E\nexample.org/two v1.0.0  ISC\n")
	require.Contains(t, text, "File example.org/a/b/b.go\nLicence by its header: LicenseRef-E\n\nbecause of that\n")
	require.Contains(t, text, "example.org/a v1.0.0, LICENSE\nexample.org/two v1.0.0, LICENSE\n\n"+isc, "the same text is there once")
	require.Contains(t, text, "example.org/a v1.0.0, NOTICE\n\nMade by us.\n")

	bom, err := billOfMaterials(findings)
	require.NoError(t, err)
	var document struct {
		Components []struct {
			Purl     string
			Licenses []struct{ Expression string }
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(bom), &document))
	require.Len(t, document.Components, 2)
	require.Equal(t, "pkg:golang/example.org/a@v1.0.0", document.Components[0].Purl)
	require.Equal(t, "ISC AND LicenseRef-E", document.Components[0].Licenses[0].Expression)
	require.Equal(t, []string{"pkg:golang/example.org/a@v1.0.0", "pkg:golang/example.org/two@v1.0.0"}, document.Dependencies[0].DependsOn)
}

func TestReadKnownSaysWhatIsMissing(t *testing.T) {
	_, err := readKnown([]byte("files: [{file: a, licence: b, header_sha256: c}]"))
	require.ErrorContains(t, err, `field files[0]: "a", expected file, licence, header_sha256 and reason`)
	_, err = readKnown([]byte("modules: [{module: a, reason: b}]"))
	require.ErrorContains(t, err, `field modules[0]: "a", expected module, texts and reason`)
	_, err = readKnown([]byte("file: []"))
	require.Error(t, err)
}
