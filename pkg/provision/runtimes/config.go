package runtimes

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

	"github.com/BurntSushi/toml"
)

// The plugin that holds the runtime handlers, by the version of containerd's
// configuration file (containerd's docs/cri/config.md). containerd 2 migrates
// a version 2 file, but in a newer file it drops the old plugin's table
// without a word, so the file's own version decides.
const (
	criPluginV2 = "io.containerd.grpc.v1.cri"
	criPluginV3 = "io.containerd.cri.v1.runtime"
)

// ContainerdConfig is the path of containerd's configuration on a kind node.
const ContainerdConfig = "/etc/containerd/config.toml"

// Types of containerd shims.
const (
	runcShim  = "io.containerd.runc.v2"
	runscShim = "io.containerd.runsc.v1"
	// wasmedgeShim is runwasi's, which stands behind a handler wasmedge where
	// labctl didn't make it.
	wasmedgeShim = "io.containerd.wasmedge.v1"
)

// runscOptions is the TypeUrl of the gVisor shim's options (optionsType in
// gVisor's pkg/shim/runsc/options.go).
const runscOptions = "io.containerd.runsc.v1.options"

// Configure adds the handlers of all runtimes to a containerd configuration
// file of version 2 or newer. What else is in the file stays as it is, except
// for its comments; the handler runc, which a kind node configures itself,
// stays too. The result is the same when it is configured again.
func Configure(current []byte) ([]byte, error) {
	var config map[string]any
	if err := toml.Unmarshal(current, &config); err != nil {
		return nil, fmt.Errorf("containerd's configuration doesn't parse: %w", err)
	}
	cri, err := criTable(config)
	if err != nil {
		return nil, err
	}
	runtimes, err := table(cri, "containerd", "runtimes")
	if err != nil {
		return nil, err
	}
	runc, err := table(runtimes, Runc)
	if err != nil {
		return nil, err
	}
	if t, set := runc["runtime_type"]; set && t != runcShim {
		return nil, fmt.Errorf("containerd's handler runc has the type %v, not %s: labctl does not change it; start from a kind node's own configuration", t, runcShim)
	}
	runc["runtime_type"] = runcShim
	for name, handler := range KindNode.Handlers(runc) {
		runtimes[name] = handler
	}
	// kind's entrypoint and labctl-runtime-setup turn this very line into true
	// where the host needs it, so it has to be there.
	if _, set := cri["restrict_oom_score_adj"]; !set {
		cri["restrict_oom_score_adj"] = false
	}
	return encode(config)
}

// Handlers are the tables of the handlers gvisor and wasmedge for containerd's
// configuration; runc is the table of the handler runc, whose options crun
// gets as well.
func (l Layout) Handlers(runc map[string]any) map[string]any {
	return map[string]any{GVisor: l.gvisor(), WasmEdge: l.wasmedge(runc)}
}

func (l Layout) gvisor() map[string]any {
	return map[string]any{
		"runtime_type":    runscShim,
		"pod_annotations": []any{"dev.gvisor.*"},
		"options": map[string]any{
			"TypeUrl":    runscOptions,
			"ConfigPath": l.RunscConfig,
		},
	}
}

// wasmedge is crun, which runs a .wasm entrypoint with libwasmedge when the
// Pod's annotation asks for it (crun(1), run.oci.handler and
// module.wasm.image/variant). In all else crun is set up as runc is.
func (l Layout) wasmedge(runc map[string]any) map[string]any {
	options := map[string]any{}
	if o, ok := runc["options"].(map[string]any); ok {
		options = maps.Clone(o)
	}
	options["BinaryName"] = l.Crun
	handler := map[string]any{
		"runtime_type":    runcShim,
		"pod_annotations": []any{"module.wasm.image/*", "run.oci.handler"},
		"options":         options,
	}
	if spec, set := runc["base_runtime_spec"]; set {
		handler["base_runtime_spec"] = spec
	}
	return handler
}

// criTable finds or makes the table of the plugin that holds the handlers.
func criTable(config map[string]any) (map[string]any, error) {
	version, ok := config["version"].(int64)
	switch {
	case !ok || version < 2:
		return nil, errors.New("containerd's configuration has no `version` of 2 or more; version 1 files, which containerd deprecates, are not edited: `containerd config migrate` makes a newer one")
	case version == 2:
		return table(config, "plugins", criPluginV2)
	default:
		return table(config, "plugins", criPluginV3)
	}
}

// table descends into nested tables and makes those that are missing.
func table(t map[string]any, path ...string) (map[string]any, error) {
	for _, key := range path {
		switch next := t[key].(type) {
		case map[string]any:
			t = next
		case nil:
			made := map[string]any{}
			t[key] = made
			t = made
		default:
			return nil, fmt.Errorf("containerd's configuration: %s is no table but %T", key, next)
		}
	}
	return t, nil
}

// encode writes strings in double quotes and one key a line: kind's
// entrypoint edits the file with sed when the node boots.
func encode(config map[string]any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# The node's own configuration with the runtimes of labctl.\n")
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(config); err != nil {
		return nil, fmt.Errorf("write containerd's configuration: %w", err)
	}
	return b.Bytes(), nil
}
