package main

import (
	"runtime/debug"
	"strings"
)

// Set by the linker in release builds: -ldflags "-X main.buildVersion=1.2.3 -X main.buildDate=2026-01-31".
var buildVersion, buildDate string

// version returns the version and the date of the build: the linker's, or else those of the
// module and the commit it was built from.
func version() (version, date string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return describe(buildVersion, buildDate, info)
}

func describe(version, date string, info *debug.BuildInfo) (string, string) {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if version == "" {
		version = strings.TrimPrefix(info.Main.Version, "v")
	}
	if version == "" || version == "(devel)" {
		version = "unknown"
		if revision := settings["vcs.revision"]; revision != "" {
			version = "devel-" + revision[:min(12, len(revision))]
			if settings["vcs.modified"] == "true" {
				version += "-modified"
			}
		}
	}
	if date == "" {
		date = settings["vcs.time"]
	}
	if date == "" {
		date = "unknown"
	}
	return version, date
}
