package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

const rule = "================================================================================\n"

// notices is the text that is shipped with the binary: who it is from, and the words that their
// licences ask to be kept.
func notices(findings []finding) string {
	var b strings.Builder
	b.WriteString("Third-party notices\n" + rule + `
Orderflow is licensed under the Apache License 2.0 (file LICENSE). Its binary also contains the
modules below, under their own licences; stdlib is Go's standard library and runtime. The texts
follow, each once, with the modules that they belong to.
This file is made by "make licences" and checked by CI.

`)
	width := 0
	for _, f := range findings {
		width = max(width, len(f.path)+1+len(f.version))
	}
	for _, f := range findings {
		fmt.Fprintf(&b, "%-*s  %s\n", width, f.path+" "+f.version, strings.Join(f.ids, ", "))
	}

	for _, f := range findings {
		for _, e := range f.exceptions {
			fmt.Fprintf(&b, "\n%sFile %s\nLicence by its header: %s\n\n%s\n", rule, e.File, e.Licence, strings.TrimSpace(e.Reason))
		}
	}

	// The same text is often in several modules.
	var order []string
	owners := map[string][]string{}
	for _, f := range findings {
		for _, t := range f.texts {
			if _, seen := owners[t.content]; !seen {
				order = append(order, t.content)
			}
			owners[t.content] = append(owners[t.content], f.path+" "+f.version+", "+t.name)
		}
	}
	for _, content := range order {
		b.WriteString("\n" + rule)
		for _, owner := range slices.Compact(owners[content]) {
			b.WriteString(owner + "\n")
		}
		b.WriteString("\n" + content)
	}
	return b.String()
}

// billOfMaterials is a CycloneDX document of the same. It has neither a time nor a random number,
// so that the same modules make the same document.
func billOfMaterials(findings []finding) (string, error) {
	const main = "orderflow"
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		BOMRef: main, Type: cyclonedx.ComponentTypeApplication, Name: main,
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
	}}
	var components []cyclonedx.Component
	var refs []string
	dependencies := []cyclonedx.Dependency{{Ref: main, Dependencies: &refs}}
	for _, f := range findings {
		purl := "pkg:golang/" + strings.ReplaceAll(f.path, "+", "%2B") + "@" + strings.ReplaceAll(f.version, "+", "%2B")
		c := cyclonedx.Component{
			BOMRef: purl, PackageURL: purl, Type: cyclonedx.ComponentTypeLibrary, Name: f.path, Version: f.version,
			Licenses: licences(f.ids),
		}
		var remarks []cyclonedx.Property
		for _, e := range f.exceptions {
			remarks = append(remarks, cyclonedx.Property{Name: "orderflow:file", Value: e.File + ": " + e.Licence})
		}
		if len(remarks) > 0 {
			c.Properties = &remarks
		}
		components = append(components, c)
		refs = append(refs, purl)
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: purl})
	}
	bom.Components, bom.Dependencies = &components, &dependencies

	var b bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	if err := encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return "", err
	}
	return b.String(), nil
}

func licences(ids []string) *cyclonedx.Licenses {
	if len(ids) == 1 {
		return &cyclonedx.Licenses{{License: &cyclonedx.License{ID: ids[0]}}}
	}
	return &cyclonedx.Licenses{{Expression: strings.Join(ids, " AND ")}}
}
