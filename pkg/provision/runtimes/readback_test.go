package runtimes

import (
	"slices"
	"strings"
	"testing"
)

// own are the handlers that labctl makes.
var own = map[string]string{Runc: Runc, GVisor: GVisor, WasmEdge: WasmEdge}

// A handler by another name, which a class of the user's names, has its own
// options; its shim tells.
func TestCheckHandlersOfOthers(t *testing.T) {
	handlers := []Handler{{Name: "runsc", Type: runscShim}, {Name: "kata", Type: "io.containerd.kata.v2"}, {Name: "crun-wasm", Type: runcShim}}
	for runtime, handler := range map[string]string{GVisor: "runsc", WasmEdge: "crun-wasm"} {
		if err := CheckHandlers(handlers, map[string]string{runtime: handler}); err != nil {
			t.Error(err)
		}
	}
	for handler, want := range map[string]string{"kata": "io.containerd.kata.v2", "crun-wasm": "io.containerd.runc.v2", "gone": "no handler gone"} {
		if err := CheckHandlers(handlers, map[string]string{GVisor: handler}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s for gVisor: %v", handler, err)
		}
	}
}

// The dumps are those of containerd 1.7.24 and 2.4.2, given kind.golden.toml.
func TestReadBack(t *testing.T) {
	for _, dump := range []string{"dump-1.7.toml", "dump-2.4.toml"} {
		t.Run(dump, func(t *testing.T) {
			handlers, err := ReadBack(read(t, dump))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, h := range handlers {
				names = append(names, h.Name)
			}
			if want := []string{GVisor, Runc, "test-handler", WasmEdge}; !slices.Equal(names, want) {
				t.Fatalf("handlers %q, want %q", names, want)
			}
			if err := CheckHandlers(handlers, own); err != nil {
				t.Error(err)
			}
			wasmedge := handlers[3]
			if wasmedge.BaseSpec != "/etc/containerd/cri-base.json" || wasmedge.Options["SystemdCgroup"] != true {
				t.Errorf("wasmedge isn't set up as runc is: %+v", wasmedge)
			}
		})
	}
}

// A version 2 table in a newer file is dropped by containerd; so it must not
// count here either.
func TestReadBackOldTableInNewFile(t *testing.T) {
	dump := strings.Replace(string(read(t, "kind.golden.toml")), "version = 2", "version = 3", 1)
	handlers, err := ReadBack([]byte(dump))
	if err != nil {
		t.Fatal(err)
	}
	err = CheckHandlers(handlers, own)
	for _, want := range []string{"no handler runc", "no handler gvisor", "no handler wasmedge"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

func TestCheckHandlersRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		handler Handler
		want    string
	}{
		"gvisor that is runc":    {Handler{Name: GVisor, Type: runcShim}, `its type is "io.containerd.runc.v2"`},
		"gvisor by runc's shim":  {Handler{Name: GVisor, Type: runcShim, Options: map[string]any{"BinaryName": "runsc"}}, `not "io.containerd.runsc.v1"`},
		"gvisor without options": {Handler{Name: GVisor, Type: runscShim}, "ConfigPath"},
		"wasmedge that is runc":  {Handler{Name: WasmEdge, Type: runcShim, PodAnnotations: []string{"module.wasm.image/*"}}, "BinaryName"},
		"wasmedge without annotations": {
			Handler{Name: WasmEdge, Type: runcShim, Options: map[string]any{"BinaryName": KindNode.Crun}}, "module.wasm.image/*"},
		"runc that is crun": {Handler{Name: Runc, Type: runcShim, Options: map[string]any{"BinaryName": KindNode.Crun}}, "BinaryName"},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckHandlers([]Handler{c.handler}, map[string]string{c.handler.Name: c.handler.Name})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

// A handler wasmedge that is runwasi's, which K3s makes where it finds the
// shim, is as good; one by any other shim isn't.
func TestCheckHandlersRunwasi(t *testing.T) {
	wasmedge := map[string]string{WasmEdge: WasmEdge}
	if err := CheckHandlers([]Handler{{Name: WasmEdge, Type: wasmedgeShim}}, wasmedge); err != nil {
		t.Error(err)
	}
	if err := CheckHandlers([]Handler{{Name: WasmEdge, Type: "io.containerd.wasmtime.v1"}}, wasmedge); err == nil {
		t.Error("wasmtime passes for wasmedge")
	}
}
