// Package config is the pipelines, schemas and topics, built into the binary so that it works in
// an empty directory.
package config

import "embed"

// Files holds the pipelines and schemas, by their path in this directory.
//
//go:embed pipelines/*.yaml schemas/*.avsc
var Files embed.FS

// Topics is topics.yaml.
//
//go:embed topics.yaml
var Topics []byte
