package crds

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	// maxFile is how large a file may be: an API server takes 3 MiB a request
	// (k8s.io/apiserver, MaxRequestBodyBytes), and a file may hold several.
	maxFile = 16 << 20
	// maxTotal is how much is read of a folder.
	maxTotal = 256 << 20

	kind       = "CustomResourceDefinition"
	apiVersion = "apiextensions.k8s.io/v1"
)

// ErrNone is a folder in which no definition is.
var ErrNone = errors.New("no CustomResourceDefinition in its .yaml, .yml and .json files")

// Load reads the definitions of a folder and of those below it; symbolic links
// are not followed. Other objects are left, as are files that can't be read as
// YAML and don't speak of definitions, such as a chart's templates. Where one
// definition is there more than once the last file's counts. Errors name the
// file.
func Load(fsys fs.FS) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	total := 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch path.Ext(name) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		content, err := readBounded(fsys, name)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if total += len(content); total > maxTotal {
			return fmt.Errorf("its files are larger than %d MiB together: name the folder of the definitions alone", maxTotal>>20)
		}
		if !bytes.Contains(content, []byte(kind)) {
			return nil
		}
		found, err := definitions(content)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		out = Override(out, found)
		return nil
	})
	if err == nil && len(out) == 0 {
		err = ErrNone
	}
	return out, err
}

// Override joins two lists; where both have a definition the second one's
// counts.
func Override(first, second []*unstructured.Unstructured) []*unstructured.Unstructured {
	at := map[string]int{}
	var out []*unstructured.Unstructured
	for _, list := range [][]*unstructured.Unstructured{first, second} {
		for _, d := range list {
			if i, ok := at[d.GetName()]; ok {
				out[i] = d
				continue
			}
			at[d.GetName()] = len(out)
			out = append(out, d)
		}
	}
	return out
}

func readBounded(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("larger than %d MiB, which no definitions are", maxFile>>20)
	}
	return content, err
}

// definitions are those of a YAML stream.
func definitions(content []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	r := yamlstream.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for n := 1; ; n++ {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(doc, []byte(kind)) {
			continue
		}
		var object map[string]any
		if err := yaml.Unmarshal(doc, &object); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		for _, u := range items(object) {
			if u.GetKind() != kind {
				continue
			}
			if err := prepare(u); err != nil {
				return nil, fmt.Errorf("document %d: %w", n, err)
			}
			out = append(out, u)
		}
	}
}

// items are the objects of a List, as kubectl get -o yaml writes it, or the
// object itself.
func items(object map[string]any) []*unstructured.Unstructured {
	list, ok := object["items"].([]any)
	if !ok {
		return []*unstructured.Unstructured{{Object: object}}
	}
	var out []*unstructured.Unstructured
	for _, e := range list {
		if object, ok := e.(map[string]any); ok {
			out = append(out, &unstructured.Unstructured{Object: object})
		}
	}
	return out
}

// prepare makes a definition fit for a server that has no webhooks, and for
// being created.
func prepare(u *unstructured.Unstructured) error {
	if u.GetAPIVersion() != apiVersion {
		return fmt.Errorf("apiVersion %q of %q: API servers since 1.22 know %s alone", u.GetAPIVersion(), u.GetName(), apiVersion)
	}
	if u.GetName() == "" {
		return fmt.Errorf("a %s without metadata.name", kind)
	}
	u.SetResourceVersion("")
	u.SetUID("")
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "spec", "conversion")
	return nil
}
