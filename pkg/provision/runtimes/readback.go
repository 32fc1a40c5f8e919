package runtimes

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/BurntSushi/toml"
)

// Handler is a runtime handler in containerd's effective configuration.
type Handler struct {
	Name string
	// Type is the shim's type: io.containerd.runc.v2, …
	Type string
	// Options are the shim's options as containerd passes them on.
	Options map[string]any
	// PodAnnotations are the patterns of annotations that reach the runtime.
	PodAnnotations []string
	// BaseSpec is the path of the OCI spec that containers start from; may be "".
	BaseSpec string
}

// ReadBack reads the handlers out of what `containerd config dump` prints, for
// versions 2 (containerd 1.7) and newer, sorted by name.
func ReadBack(dump []byte) ([]Handler, error) {
	var config map[string]any
	if err := toml.Unmarshal(dump, &config); err != nil {
		return nil, fmt.Errorf("containerd config dump: %w", err)
	}
	cri, err := criTable(config)
	if err != nil {
		return nil, fmt.Errorf("containerd config dump: %w", err)
	}
	tables, err := table(cri, "containerd", "runtimes")
	if err != nil {
		return nil, fmt.Errorf("containerd config dump: %w", err)
	}
	var handlers []Handler
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		t, err := table(tables, name)
		if err != nil {
			return nil, fmt.Errorf("containerd config dump: %w", err)
		}
		h := Handler{Name: name}
		h.Type, _ = t["runtime_type"].(string)
		h.Options, _ = t["options"].(map[string]any)
		h.BaseSpec, _ = t["base_runtime_spec"].(string)
		annotations, _ := t["pod_annotations"].([]any)
		for _, a := range annotations {
			h.PodAnnotations = append(h.PodAnnotations, fmt.Sprint(a))
		}
		handlers = append(handlers, h)
	}
	return handlers, nil
}

// CheckHandlers says what is missing or different; wanted maps a runtime to
// the name of its handler.
func CheckHandlers(handlers []Handler, wanted map[string]string) error {
	var errs []error
	for _, runtime := range Names {
		name, ok := wanted[runtime]
		if !ok {
			continue
		}
		i := slices.IndexFunc(handlers, func(h Handler) bool { return h.Name == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("containerd has no handler %s", name))
			continue
		}
		if err := checkHandler(handlers[i], runtime); err != nil {
			errs = append(errs, fmt.Errorf("containerd's handler %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// checkHandler checks a handler's shim, and its options where the handler has
// the runtime's name, as labctl makes it: a handler by another name is set up
// by somebody who has their own ways.
func checkHandler(h Handler, runtime string) error {
	option := func(name string) string {
		value, _ := h.Options[name].(string)
		return value
	}
	wantType := runcShim
	if runtime == GVisor {
		wantType = runscShim
	}
	if runtime == WasmEdge && h.Type == wasmedgeShim {
		return nil // runwasi's, which has no options that matter
	}
	if h.Type != wantType {
		return fmt.Errorf("its type is %q, not %q", h.Type, wantType)
	}
	if h.Name != runtime {
		return nil
	}
	switch runtime {
	case Runc:
		if name := option("BinaryName"); name != "" && path.Base(name) != "runc" {
			return fmt.Errorf("option BinaryName is %q, not runc", name)
		}
	case GVisor:
		if option("TypeUrl") != runscOptions || option("ConfigPath") == "" {
			return fmt.Errorf("options TypeUrl %q and ConfigPath %q don't reach the shim's configuration", option("TypeUrl"), option("ConfigPath"))
		}
	case WasmEdge:
		if !slices.Contains(h.PodAnnotations, "module.wasm.image/*") {
			return fmt.Errorf("pod_annotations %q don't let module.wasm.image/* through", h.PodAnnotations)
		}
		if name := option("BinaryName"); path.Base(name) != "crun" {
			return fmt.Errorf("option BinaryName is %q, not crun", name)
		}
	}
	return nil
}
