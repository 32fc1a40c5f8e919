// Package manifests holds the YAML that labs and labctl itself apply.
package manifests

import "embed"

// FS has every manifest, by its path below this folder.
//
//go:embed *
var FS embed.FS
