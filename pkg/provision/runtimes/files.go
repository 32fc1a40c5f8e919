package runtimes

import (
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file to put on a node, owned by root.
type File struct {
	Path    string // absolute, on the node
	Mode    fs.FileMode
	Content []byte
}

var (
	//go:embed node/labctl-runtime-setup
	setupScript []byte
	//go:embed node/labctl-runsc
	runscWrapper []byte
	//go:embed node/10-labctl.conf
	containerdDropIn []byte
)

// Names of the programs in a shim folder (see Shim).
const (
	shimProgram  = "containerd-shim-runsc-v1"
	runscProgram = "runsc"
)

// Files are the files that a node needs besides the Packages and what
// Configure makes of its containerd configuration. shimDir is what Shim
// returned.
func Files(shimDir string) ([]File, error) {
	files := []File{
		{"/usr/local/bin/labctl-runtime-setup", 0o755, setupScript},
		{"/usr/local/bin/labctl-runsc", 0o755, runscWrapper},
		{"/etc/systemd/system/containerd.service.d/10-labctl.conf", 0o644, containerdDropIn},
	}
	shim, err := os.ReadFile(filepath.Join(shimDir, shimProgram))
	if err != nil {
		return nil, fmt.Errorf("gVisor shim: %w", err)
	}
	files = append(files, File{"/usr/local/bin/" + shimProgram, 0o755, shim})
	// A gVisor release brings its own runsc, which then goes before Debian's.
	runsc, err := os.ReadFile(filepath.Join(shimDir, runscProgram))
	switch {
	case err == nil:
		files = append(files, File{"/usr/local/bin/" + runscProgram, 0o755, runsc})
	case !os.IsNotExist(err):
		return nil, fmt.Errorf("gVisor release: %w", err)
	}
	return files, nil
}
