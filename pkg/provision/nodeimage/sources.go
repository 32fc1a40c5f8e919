package nodeimage

import (
	"embed"
	"errors"
	"io/fs"
	"regexp"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

var sandbox = regexp.MustCompile(`(?m)^\s*sandbox_image\s*=\s*"([^"]+)"`)

// pauseImage is the name that kind's containerd configuration has for it.
func pauseImage(s gomodule.Sources) (string, error) {
	for _, f := range s.Below("kind") {
		if f.Name == "etc/containerd/config.toml" {
			if m := sandbox.FindSubmatch(f.Content); m != nil {
				return string(m[1]), nil
			}
		}
	}
	return "", errors.New("kind's containerd configuration names no sandbox_image")
}

var (
	// baseFiles are those that a base built here has beside kind's; common are
	// those that kindest/node gets as well.
	//go:embed files
	baseFiles embed.FS
	//go:embed common
	commonFiles embed.FS
	//go:embed scripts/setup.sh
	setupScript string
	//go:embed scripts/import.sh
	importScript string
)

// embedded lists the files below dir by their paths on the node.
func embedded(fsys embed.FS, dir string) ([]gomodule.File, error) {
	var out []gomodule.File
	err := fs.WalkDir(fsys, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fsys.ReadFile(p)
		out = append(out, gomodule.File{Name: strings.TrimPrefix(p, dir+"/"), Mode: 0o644, Content: content})
		return err
	})
	return out, err
}

// inputs are files as inputs of a hash.
func inputs(files []gomodule.File) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.Name, string(f.Content))
	}
	return out
}
