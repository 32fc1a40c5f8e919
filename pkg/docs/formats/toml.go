package formats

import (
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var tomlInvalid = docs.Rule{
	ID: "toml-invalid", Severity: docs.Error,
	Title: "a TOML file doesn't parse",
	Help:  "The program that reads the file stops with this error. A table or key that stands twice is one as well: TOML doesn't allow it. Files with template actions ({{ }}) are left out.",
}

var containerdTables = docs.Rule{
	ID: "containerd-v2-tables", Severity: docs.Error,
	Title: "the plugin tables of a containerd configuration belong to another version than the one it says",
	Help: "containerd reads the tables of the version that the file says, and ignores others. version = 2 (containerd 1.x) has " +
		"io.containerd.grpc.v1.cri; version = 3 (containerd 2.x) has io.containerd.cri.v1.runtime and io.containerd.cri.v1.images, " +
		"and keeps only the stream server in io.containerd.grpc.v1.cri. `containerd config migrate` rewrites a file.",
}

var tomlFormat = format{
	name: "TOML", rules: []docs.Rule{tomlInvalid},
	is: func(t text) bool { return t.Language == "toml" && !abridged(t.Text) },
	check: func(t text) []docs.Finding {
		if deepKey(t.Text) {
			return []docs.Finding{t.finding(unchecked, 1, 0, "a key has more than %d parts, too many to be judged as TOML", maxKey)}
		}
		var content map[string]any
		_, err := toml.Decode(t.Text, &content)
		if err == nil {
			return nil
		}
		var at toml.ParseError
		if !errors.As(err, &at) {
			return []docs.Finding{t.finding(tomlInvalid, 1, 0, "the TOML doesn't parse: %s", err.Error())}
		}
		return []docs.Finding{t.finding(tomlInvalid, at.Position.Line, at.Position.Col, "the TOML doesn't parse: %s", at.Message)}
	},
}

var containerd = format{
	name: "containerd", rules: []docs.Rule{containerdTables},
	is: func(t text) bool {
		return strings.Contains(t.Text, "io.containerd.") && (t.Language == "toml" || t.Format == "containerd")
	},
	check: checkContainerd,
}

// maxKey is how many parts a key may have: the library keeps each prefix of it.
const maxKey = 100

func deepKey(s string) bool {
	for line := range strings.Lines(s) {
		key, _, _ := strings.Cut(line, "=")
		if strings.Count(key, ".") > maxKey {
			return true
		}
	}
	return false
}

const (
	criV2 = "io.containerd.grpc.v1.cri"
	criV3 = "io.containerd.cri.v1."
)

// streamServer are the settings that version 3 keeps in the table of version 2
// (ServerConfig in internal/cri/config of github.com/containerd/containerd/v2
// v2.4.2).
var streamServer = map[string]bool{
	"disable_tcp_service": true, "stream_server_address": true, "stream_server_port": true,
	"stream_idle_timeout": true, "enable_tls_streaming": true, "x509_key_pair_streaming": true,
}

func checkContainerd(t text) (found []docs.Finding) {
	var file struct {
		Version int                       `toml:"version"`
		Plugins map[string]map[string]any `toml:"plugins"`
	}
	if deepKey(t.Text) {
		return nil
	}
	meta, err := toml.Decode(t.Text, &file)
	if err != nil {
		return nil // toml-invalid, or a file whose tables are of another kind
	}
	if !meta.IsDefined("version") {
		return nil // a part of a file
	}
	seen := map[string]bool{}
	for _, k := range meta.Keys() {
		k = k[:min(len(k), 3)]
		if len(k) < 2 || k[0] != "plugins" || seen[k.String()] {
			continue
		}
		seen[k.String()] = true
		var message string
		switch {
		case file.Version >= 3 && k[1] == criV2 && len(k) == 3 && !streamServer[k[2]]:
			message = fmt.Sprintf("%s of %s isn't read in a file of version %d; it belongs into %s", k[2], criV2, file.Version, successor(k[2]))
		case file.Version == 2 && strings.HasPrefix(k[1], criV3) && !seen[k[1]]:
			k, seen[k[1]] = k[:2], true
			message = fmt.Sprintf("%s isn't read in a file of version 2, which has %s; tables of containerd 2.x need version = 3", k[1], criV2)
		default:
			continue
		}
		line, column := tomlPlace(t.lines(), k)
		f := t.finding(containerdTables, line, column, "%s", message)
		f.Field = k.String()
		found = append(found, f)
	}
	return found
}

// successor is the table of version 3 for a key of version 2.
func successor(key string) string {
	switch key {
	case "registry", "image_decryption", "snapshotter", "sandbox_image", "max_concurrent_downloads",
		"discard_unpacked_layers", "disable_snapshot_annotations", "image_pull_progress_timeout", "image_pull_with_sync_fs", "stats_collect_period":
		return criV3 + "images"
	}
	return criV3 + "runtime"
}

// tomlPlace finds the line of a table or key: the first one that has its
// plug-in and its last part. The library keeps no positions of keys.
func tomlPlace(lines []string, k toml.Key) (line, column int) {
	inside := false
	for i, text := range lines {
		content := strings.TrimLeft(text, " \t")
		column := 1 + len(text) - len(content)
		if strings.HasPrefix(content, "[") {
			var rest string
			_, rest, inside = strings.Cut(content, k[1])
			if inside && (len(k) == 2 || strings.Contains(rest, k[2])) {
				return i + 1, column
			}
			continue
		}
		if inside && len(k) > 2 && strings.HasPrefix(content, k[2]) {
			return i + 1, column
		}
	}
	return 1, 0
}
