package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// permitted are the licences that may be linked into an Apache-2.0 binary with no more than their
// text beside it, by their SPDX identifiers.
var permitted = []string{"Apache-2.0", "BSD-2-Clause", "BSD-2-Clause-Views", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "Unlicense"}

// mostlyKnown is how much of a licence's text, in percent, must be of licences that are known. The
// rest are copyright lines and headings.
const mostlyKnown = 75

// classify returns the identifiers of the licences in a text.
func classify(content string) ([]string, error) {
	coverage := licensecheck.Scan([]byte(content))
	var ids []string
	for _, m := range coverage.Match {
		if !m.IsURL {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if coverage.Percent < mostlyKnown || len(ids) == 0 {
		return ids, fmt.Errorf("%.0f%% of the text is a licence that is known (%s), expected %d%%", coverage.Percent, strings.Join(ids, ", "), mostlyKnown)
	}
	for _, id := range ids {
		if !slices.Contains(permitted, id) {
			return ids, fmt.Errorf("licence %s is not one of %s", id, strings.Join(permitted, ", "))
		}
	}
	return ids, nil
}

// refused are words of licences that ask for more, wherever in a file they are.
var refused = regexp.MustCompile(`(?i)redpanda enterprise|community license|business source license|\bBUSL\b|elastic license|` +
	`server side public|\bSSPL\b|commons clause|polyform|GNU (affero |lesser |library )?general public|\bA?L?GPL|proprietary|confidential|commercial license`)

// grants are the forms in which a file says that it has a permitted licence.
var grants = []*regexp.Regexp{
	regexp.MustCompile(`(?i)licensed under the apache license,? (version )?2\.0`),
	regexp.MustCompile(`(?i)SPDX-License-Identifier: (` + strings.ReplaceAll(strings.Join(permitted, "|"), ".", `\.`) + `)( |$)`),
	regexp.MustCompile(`(?i)(bsd-style|bsd 3-clause|mit) license that can be found in the license`),
	regexp.MustCompile(`(?i)distributed under the simplified bsd license`),
	regexp.MustCompile(`(?i)license information can be found in the license file`),
	regexp.MustCompile(`(?i)permission is hereby granted, free of charge, to any person obtaining a copy`),
	regexp.MustCompile(`(?i)permission to use, copy, modify, and(/or)? distribute this software for any purpose with or without fee is hereby granted`),
	regexp.MustCompile(`(?i)redistribution and use in source and binary forms, with or without modification, are permitted`),
}

// speaks are words that a header has which grants or keeps something.
var speaks = regexp.MustCompile(`(?i)licen[cs]|SPDX|governed by|redistribut|permission`)

// checkHeader says what is wrong with the licence that a file claims for itself; one that claims
// none has that of its module.
func checkHeader(content string) error {
	header := headerOf(content)
	if words := refused.FindString(header); words != "" {
		return fmt.Errorf("its header says %q", words)
	}
	if !speaks.MatchString(header) {
		return nil
	}
	for _, grant := range grants {
		if grant.MatchString(header) {
			return nil
		}
	}
	return fmt.Errorf("its header speaks of a licence in an unknown form: %.200q", header)
}

var (
	packageClause  = regexp.MustCompile(`(?m)^package `)
	commentMarkers = regexp.MustCompile(`(?m)^[ \t]*(//|/\*|\*/|\*|#)+[ \t]?`)
)

// headerOf returns what stands before the package clause, or at the start of an assembly file, as
// one line without comment markers.
func headerOf(content string) string {
	end := min(len(content), 4000)
	if at := packageClause.FindStringIndex(content); at != nil {
		end = at[0]
	}
	return strings.Join(strings.Fields(commentMarkers.ReplaceAllString(content[:end], "")), " ")
}
