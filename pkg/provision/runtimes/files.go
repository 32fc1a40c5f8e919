package runtimes

import (
	"bytes"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"text/template"
)

// File is a file to put on a node, owned by root.
type File struct {
	Path    string // absolute, on the node
	Mode    fs.FileMode
	Content []byte
}

var (
	//go:embed node/labctl-runtime-setup
	setupScript string
	//go:embed node/labctl-runsc
	runscWrapper string
	//go:embed node/10-labctl.conf
	containerdDropIn []byte
)

// Names of the programs in a shim folder (see Shim).
const (
	shimProgram  = "containerd-shim-runsc-v1"
	runscProgram = "runsc"
)

// Layout says where on a node the parts of the runtimes are.
type Layout struct {
	// Bin is the folder of programs that labctl puts there; it is on PATH.
	Bin string
	// State is the folder of what labctl-runtime-setup finds out.
	State string
	// RunscConfig is the shim's configuration, which labctl-runtime-setup writes.
	RunscConfig string
	// ContainerdConfig is containerd's configuration where labctl owns it and
	// labctl-runtime-setup may fit it to the host; else "".
	ContainerdConfig string
	// Crun is the path of a crun that was built with WasmEdge.
	Crun string
	// SystemdCgroup says whether the kubelet's cgroup driver is systemd.
	SystemdCgroup bool
}

// KindNode is the layout of the nodes that labctl makes itself: the setup runs
// before each start of containerd.
var KindNode = Layout{
	Bin:              "/usr/local/bin",
	State:            "/run/labctl",
	RunscConfig:      "/etc/containerd/runsc.toml",
	ContainerdConfig: ContainerdConfig,
	Crun:             "/usr/bin/crun",
	SystemdCgroup:    true,
}

// Setup is the path of the program that fits runsc to the host.
func (l Layout) Setup() string { return path.Join(l.Bin, "labctl-runtime-setup") }

// Programs are the files that every node needs besides the Packages and the
// configuration of containerd. shimDir is what Shim returned.
func (l Layout) Programs(shimDir string) ([]File, error) {
	setup, err := l.render(setupScript)
	if err != nil {
		return nil, err
	}
	wrapper, err := l.render(runscWrapper)
	if err != nil {
		return nil, err
	}
	files := []File{{l.Setup(), 0o755, setup}, {path.Join(l.Bin, "labctl-runsc"), 0o755, wrapper}}
	shim, err := os.ReadFile(filepath.Join(shimDir, shimProgram))
	if err != nil {
		return nil, fmt.Errorf("gVisor shim: %w", err)
	}
	files = append(files, File{path.Join(l.Bin, shimProgram), 0o755, shim})
	// A gVisor release brings its own runsc, which then goes before Debian's.
	runsc, err := os.ReadFile(filepath.Join(shimDir, runscProgram))
	switch {
	case err == nil:
		files = append(files, File{path.Join(l.Bin, runscProgram), 0o755, runsc})
	case !os.IsNotExist(err):
		return nil, fmt.Errorf("gVisor release: %w", err)
	}
	return files, nil
}

func (l Layout) render(script string) ([]byte, error) {
	t, err := template.New("").Parse(script)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, l)
	return b.Bytes(), err
}

// Files are the files of a kind node: the Programs, and what runs the setup.
func Files(shimDir string) ([]File, error) {
	files, err := KindNode.Programs(shimDir)
	return append(files, File{"/etc/systemd/system/containerd.service.d/10-labctl.conf", 0o644, containerdDropIn}), err
}
