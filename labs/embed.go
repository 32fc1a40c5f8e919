// Package labs embeds the catalogue: a folder a document, each with its
// lab.yaml and what belongs to it.
package labs

//go:generate go run ../internal/guides .

import "embed"

// FS is the catalogue.
//
//go:embed */*
var FS embed.FS
