package addon

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// The labels of everything that an add-on makes; Down finds it by them.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "labctl"
	Label          = "labctl.dev/addon"
)

func selector(name string) string {
	return ManagedByLabel + "=" + ManagedBy + "," + Label + "=" + name
}

// placeholder is ${image:NAME}, which stands for an image reference.
var placeholder = regexp.MustCompile(`\$\{([a-z]+):([^}]*)\}`)

// fill puts the images' references in place of their placeholders.
func fill(text []byte, images map[string]string) ([]byte, error) {
	var unknown []string
	out := placeholder.ReplaceAllFunc(text, func(m []byte) []byte {
		part := placeholder.FindSubmatch(m)
		ref, ok := images[string(part[2])]
		if string(part[1]) != "image" || !ok {
			unknown = append(unknown, string(m))
			return m
		}
		return []byte(ref)
	})
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%s stands for nothing; the add-on's images are in its table", strings.Join(unknown, ", "))
	}
	return out, nil
}

// read parses the YAML files of a folder, in the order of their names, with
// the add-on's labels on every object.
func read(fsys fs.FS, name string, images map[string]string) ([]*unstructured.Unstructured, error) {
	var files []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(p, ".yaml") {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("manifests of %s: %w", name, err)
	}
	slices.Sort(files)
	var out []*unstructured.Unstructured
	for _, file := range files {
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, fmt.Errorf("manifests of %s: %w", name, err)
		}
		objects, err := parse(text, images)
		if err != nil {
			return nil, fmt.Errorf("manifests of %s: %s: %w", name, file, err)
		}
		for _, o := range objects {
			if err := label(o, name); err != nil {
				return nil, fmt.Errorf("manifests of %s: %s: %s: %w", name, file, title(o), err)
			}
		}
		out = append(out, objects...)
	}
	return out, nil
}

// label puts the add-on's labels on an object, and on the Pods that it makes:
// Down waits for them as well.
func label(o *unstructured.Unstructured, name string) error {
	paths := [][]string{{"metadata", "labels"}}
	if o.GroupVersionKind().Group == "apps" {
		paths = append(paths, []string{"spec", "template", "metadata", "labels"})
	}
	for _, path := range paths {
		for key, value := range map[string]string{ManagedByLabel: ManagedBy, Label: name} {
			if err := unstructured.SetNestedField(o.Object, value, append(slices.Clone(path), key)...); err != nil {
				return err
			}
		}
	}
	return nil
}

func parse(text []byte, images map[string]string) ([]*unstructured.Unstructured, error) {
	text, err := fill(text, images)
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		var content map[string]any
		if err := yaml.UnmarshalStrict(doc, &content); err != nil {
			return nil, err
		}
		if content == nil {
			continue // comments alone
		}
		o := &unstructured.Unstructured{Object: content}
		if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
			return nil, fmt.Errorf("an object without apiVersion, kind or name: %.200s", doc)
		}
		// A status is the cluster's to write.
		unstructured.RemoveNestedField(o.Object, "status")
		unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
		out = append(out, o)
	}
}

// fingerprint tells manifests apart: another labctl's add-on of the same name
// is not taken for this one's.
func fingerprint(objects []*unstructured.Unstructured, images map[string]string) (string, error) {
	h := sha256.New()
	for _, o := range objects {
		b, err := o.MarshalJSON()
		if err != nil {
			return "", err
		}
		h.Write(b) // a hash never fails (hash.Hash)
	}
	for _, name := range sortedKeys(images) {
		_, _ = fmt.Fprintf(h, "%s=%s\n", name, images[name]) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}
