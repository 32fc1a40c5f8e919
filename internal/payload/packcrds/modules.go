package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"sigs.k8s.io/yaml"
)

// module is a Go module and the files of it that hold definitions.
type module struct {
	Path string `json:"module"`
	// Files are patterns as fs.Glob has them.
	Files []string `json:"files"`
	// Types says that there are only Go types to make definitions of.
	Types   bool `json:"types"`
	version string
}

func (m module) at() string { return m.Path + "@" + m.version }

// typesFolder has the go.mod of modules of types.
const typesFolder = "types"

// readPins reads crds.yaml and the versions of the go.mod files, which must
// name the same modules.
func readPins(pins fs.FS) ([]module, error) {
	list, err := fs.ReadFile(pins, "crds.yaml")
	if err != nil {
		return nil, err
	}
	var modules []module
	if err := yaml.UnmarshalStrict(list, &modules); err != nil {
		return nil, fmt.Errorf("crds.yaml: %w", err)
	}
	required := map[bool]map[string]string{} // by Types
	if required[false], err = requires(pins, "go.mod"); err != nil {
		return nil, err
	}
	required[true], err = requires(pins, path.Join(typesFolder, "go.mod"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for i, m := range modules {
		v, ok := required[m.Types][m.Path]
		if !ok {
			return nil, fmt.Errorf("crds.yaml names %s (once more), which its go.mod doesn't require", m.Path)
		}
		if m.Types == (len(m.Files) > 0) {
			return nil, fmt.Errorf("crds.yaml: %s has either files or types", m.Path)
		}
		modules[i].version = v
		delete(required[m.Types], m.Path)
	}
	for _, versions := range required {
		for path := range versions {
			return nil, fmt.Errorf("a go.mod requires %s, which crds.yaml doesn't name", path)
		}
	}
	return modules, nil
}

// requires are the versions of the modules that a go.mod names itself.
func requires(pins fs.FS, name string) (map[string]string, error) {
	content, err := fs.ReadFile(pins, name)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(name, content, nil)
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, r := range mod.Require {
		if !r.Indirect {
			versions[r.Mod.Path] = r.Mod.Version
		}
	}
	return versions, nil
}

// generate has controller-gen make definitions of all API types of a module.
func generate(ctx context.Context, pins string, m module) ([]entry, error) {
	out, err := goCommand(ctx, filepath.Join(pins, typesFolder), "tool", "controller-gen", "crd", "paths="+m.Path+"/...", "output:crd:stdout")
	if err != nil {
		return nil, err
	}
	found, err := entries(m, out)
	if err == nil && len(found) == 0 {
		err = errors.New("no CustomResourceDefinition comes of its types")
	}
	return found, err
}

// download has Go download the modules and returns their folders in its module
// cache. It works on a copy of go.mod and go.sum: what go.sum doesn't have,
// Go would add, which here is an error.
func download(ctx context.Context, pins fs.FS, modules []module) (map[string]string, error) {
	dir, err := os.MkdirTemp("", "labctl-crds-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var sum []byte
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := fs.ReadFile(pins, name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return nil, err
		}
		sum = content
	}
	argv := []string{"mod", "download", "-json"}
	for _, m := range modules {
		argv = append(argv, m.at())
	}
	out, runErr := goCommand(ctx, dir, argv...)
	folders := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var info struct{ Path, Version, Dir, Error string }
		if err := d.Decode(&info); err != nil {
			return nil, fmt.Errorf("go mod download: %w", err)
		}
		if info.Error != "" {
			return nil, errors.New(info.Error)
		}
		folders[info.Path+"@"+info.Version] = info.Dir
	}
	if runErr != nil {
		return nil, runErr
	}
	for _, m := range modules {
		if folders[m.at()] == "" {
			return nil, fmt.Errorf("go mod download names no folder for %s", m.at())
		}
	}
	after, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(sum, after) {
		return nil, errors.New("go.sum doesn't have all of go.mod's modules: run `go mod download MODULE@VERSION` beside it")
	}
	return folders, nil
}

// goCommand runs Go in a module of its own and returns what it prints.
func goCommand(ctx context.Context, dir string, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", argv...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", strings.Join(argv[:2], " "), err, failure.Bytes())
	}
	return out, err
}
