// Package crds gives CustomResourceDefinitions: those of upstream projects,
// which labctl carries (images/crds pins them, internal/payload/packcrds packs
// them), and those of a folder of the user's.
package crds

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/internal/payload"
)

// entry is a definition that labctl carries.
type entry struct {
	module  string // MODULE@VERSION
	group   string
	content []byte // JSON
}

// packed are the definitions of the payload, sorted by module and name. The
// archive is read once, when it is first asked for.
var packed = sync.OnceValues(func() ([]entry, error) {
	archive, err := payload.CRDs()
	if err != nil {
		return nil, err
	}
	return read(archive)
})

// read reads an archive as packcrds writes it.
func read(archive []byte) ([]entry, error) {
	z, err := zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("the archive of CustomResourceDefinitions: %w", err)
	}
	defer z.Close()
	var out []entry
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the archive of CustomResourceDefinitions: %w", err)
		}
		name, ok := strings.CutSuffix(path.Base(h.Name), ".json")
		if !ok {
			continue // the stamp
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("the archive of CustomResourceDefinitions: %s: %w", h.Name, err)
		}
		// A definition is called PLURAL.GROUP.
		_, group, _ := strings.Cut(name, ".")
		out = append(out, entry{module: path.Dir(h.Name), group: group, content: content})
	}
}

// Objects are all definitions that labctl carries, decoded anew by each call.
// The error is payload.ErrMissing in a labctl without its payload.
func Objects() ([]*unstructured.Unstructured, error) {
	return decode(func(string) bool { return true })
}

// ForGroups are those of some API groups ("cert-manager.io"); a group that
// labctl doesn't know gives none.
func ForGroups(groups []string) ([]*unstructured.Unstructured, error) {
	return decode(func(group string) bool { return slices.Contains(groups, group) })
}

// ForKinds are those of some kinds. Where a group has no such kind they are all
// of that group, so that an API server can say which kinds there are. An API
// server takes about a tenth of a second of computing for each definition, and
// documents use few kinds of a group.
func ForKinds(kinds []schema.GroupKind) ([]*unstructured.Unstructured, error) {
	var groups []string
	wanted := map[schema.GroupKind]bool{}
	for _, k := range kinds {
		groups = append(groups, k.Group)
		wanted[k] = true
	}
	all, err := ForGroups(groups)
	if err != nil {
		return nil, err
	}
	there := map[schema.GroupKind]bool{}
	for _, d := range all {
		there[kindOf(d)] = true
	}
	whole := map[string]bool{}
	for _, k := range kinds {
		if !there[k] {
			whole[k.Group] = true
		}
	}
	return slices.DeleteFunc(all, func(d *unstructured.Unstructured) bool {
		k := kindOf(d)
		return !wanted[k] && !whole[k.Group]
	}), nil
}

func kindOf(definition *unstructured.Unstructured) schema.GroupKind {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}
}

func decode(wanted func(group string) bool) ([]*unstructured.Unstructured, error) {
	entries, err := packed()
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, e := range entries {
		if !wanted(e.group) {
			continue
		}
		object := &unstructured.Unstructured{}
		if err := json.Unmarshal(e.content, object); err != nil {
			return nil, fmt.Errorf("a CustomResourceDefinition of %s: %w", e.module, err)
		}
		out = append(out, object)
	}
	return out, nil
}

// Groups says for each API group that labctl carries from which module@version
// it is (several, with commas, where modules share a group). It is empty in a
// labctl without its payload.
func Groups() map[string]string {
	entries, err := packed()
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for _, e := range entries {
		switch have := out[e.group]; {
		case have == "":
			out[e.group] = e.module
		case !slices.Contains(strings.Split(have, ", "), e.module):
			out[e.group] = have + ", " + e.module
		}
	}
	return out
}
