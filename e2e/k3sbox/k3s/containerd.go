package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"golang.org/x/sys/unix"
)

// The bases of containerd's configuration. Tables, keys and the names of the
// template's fields are K3s's, so that a template which was written for K3s
// works here.
var (
	//go:embed base-v2.toml.tmpl
	baseV2 string
	//go:embed base-v3.toml.tmpl
	baseV3 string
)

// templateData is what a template gets (K3s's templates.ContainerdConfig).
type templateData struct {
	NodeConfig            nodeConfig
	DisableCgroup         bool
	SystemdCgroup         bool
	IsRunningInUserNS     bool
	EnableUnprivileged    bool
	NonrootDevices        bool
	PrivateRegistryConfig any
	ExtraRuntimes         map[string]extraRuntime
	Program               string

	// What K3s's template doesn't have: the generation's imports, and hosts
	// on which no process may get a lower OOM score.
	Imports           bool
	RestrictOOMScores bool
}

type nodeConfig struct {
	Containerd struct {
		Root, State, Address, Opt, Registry, Template, Config, Log string
		BlockIOConfig, RDTConfig                                   string
	}
	AgentConfig struct {
		PauseImage, Snapshotter, CNIBinDir, CNIConfDir, ImageServiceSocket string
		NodeName, NodeIP                                                   string
	}
	SELinux, NoFlannel bool
	DefaultRuntime     string
}

// extraRuntime is a runtime that K3s finds on PATH.
type extraRuntime struct{ RuntimeType, BinaryName string }

// detectable are the runtimes that K3s looks for. gVisor is not among them.
var detectable = map[string]extraRuntime{
	"crun":                {"io.containerd.runc.v2", "crun"},
	"nvidia":              {"io.containerd.runc.v2", "nvidia-container-runtime"},
	"nvidia-experimental": {"io.containerd.runc.v2", "nvidia-container-runtime-experimental"},
	"nvidia-cdi":          {"io.containerd.runc.v2", "nvidia-container-runtime.cdi"},
	"lunatic":             {"io.containerd.lunatic.v1", "containerd-shim-lunatic-v1"},
	"slight":              {"io.containerd.slight.v1", "containerd-shim-slight-v1"},
	"spin":                {"io.containerd.spin.v2", "containerd-shim-spin-v2"},
	"wws":                 {"io.containerd.wws.v1", "containerd-shim-wws-v1"},
	"wasmedge":            {"io.containerd.wasmedge.v1", "containerd-shim-wasmedge-v1"},
	"wasmer":              {"io.containerd.wasmer.v1", "containerd-shim-wasmer-v1"},
	"wasmtime":            {"io.containerd.wasmtime.v1", "containerd-shim-wasmtime-v1"},
}

// operatorPaths are where the GPU operator and the kwasm operator put their
// runtimes; they go before PATH.
const operatorPaths = "/usr/local/nvidia/toolkit:/opt/kwasm/bin"

func detect() (map[string]extraRuntime, error) {
	path := os.Getenv("PATH")
	if err := os.Setenv("PATH", operatorPaths+":"+path); err != nil {
		return nil, err
	}
	found := map[string]extraRuntime{}
	for name, r := range detectable {
		if program, err := exec.LookPath(r.BinaryName); err == nil {
			logf("info", "Found %s container runtime at %s", name, program)
			found[name] = extraRuntime{r.RuntimeType, program}
		}
	}
	return found, os.Setenv("PATH", path)
}

// userTemplates are the files that go before the base, with the base that
// they may extend.
func userTemplates(generation string) []struct{ file, base string } {
	v2 := struct{ file, base string }{"config.toml.tmpl", baseV2}
	if generation == genV2 {
		return []struct{ file, base string }{v2}
	}
	return []struct{ file, base string }{{"config-v3.toml.tmpl", baseV3}, v2}
}

// renderContainerd gives containerd's configuration: of the user's template in
// the folder, else of the generation's base.
func renderContainerd(dir, generation string, data templateData) (string, error) {
	user, base := baseV3, baseV3
	if generation == genV2 {
		user, base = baseV2, baseV2
	}
	for _, t := range userTemplates(generation) {
		b, err := os.ReadFile(filepath.Join(dir, t.file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		logf("info", "Using containerd config template at %s", filepath.Join(dir, t.file))
		user, base = string(b), t.base
		break
	}
	data.Imports = generation == genDropIn
	t, err := template.New("compiled_template").Funcs(template.FuncMap{
		"deschemify":   func(s string) string { return strings.TrimPrefix(s, "unix://") },
		"filepathjoin": filepath.Join,
	}).Parse(user)
	if err != nil {
		return "", fmt.Errorf("containerd config template: %w", err)
	}
	if _, err := t.New("base").Parse(base); err != nil {
		return "", fmt.Errorf("containerd config template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return "", fmt.Errorf("containerd config template: %w", err)
	}
	return trimEmpty(out.String()), nil
}

// trimEmpty leaves one empty line before each table and no other.
func trimEmpty(s string) string {
	var b strings.Builder
	for lines := bufio.NewScanner(strings.NewReader(s)); lines.Scan(); {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			continue
		}
		if strings.HasPrefix(line, "[") {
			b.WriteByte('\n')
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// containerdData are the values for the template.
func (s *supervisor) containerdData() (templateData, error) {
	extra, err := detect()
	if err != nil {
		return templateData{}, err
	}
	if _, ok := extra[s.defaultRuntime]; !ok && s.defaultRuntime != "" {
		return templateData{}, fmt.Errorf("default runtime %s was not found", s.defaultRuntime)
	}
	d := templateData{
		Program: "k3s", ExtraRuntimes: extra,
		EnableUnprivileged: true, NonrootDevices: s.nonrootDevices,
		SystemdCgroup: systemdCgroup(), RestrictOOMScores: !mayLowerOOMScores(),
	}
	c := &d.NodeConfig.Containerd
	c.Root, c.Opt = s.path("agent/containerd"), s.path("agent/containerd")
	c.State, c.Address = filepath.Dir(criSocket), criSocket
	c.Template = s.path("agent/etc/containerd")
	c.Config, c.Registry = filepath.Join(c.Template, "config.toml"), filepath.Join(c.Template, "certs.d")
	c.Log = s.path("agent/containerd/containerd.log")
	a := &d.NodeConfig.AgentConfig
	a.PauseImage, a.Snapshotter, a.NodeName, a.NodeIP = s.pauseImage, s.snapshotter, s.nodeName, s.nodeIP
	d.NodeConfig.DefaultRuntime, d.NodeConfig.NoFlannel = s.defaultRuntime, s.flannel == "none"
	if !d.NodeConfig.NoFlannel {
		a.CNIConfDir, a.CNIBinDir = s.path("agent/etc/cni/net.d"), s.path("data/cni")
		if s.version.Generation == genV2 {
			a.CNIBinDir = filepath.Join(s.dir, "bin")
		}
	}
	return d, nil
}

// systemdCgroup says whether K3s takes the systemd cgroup driver: under a
// systemd unit and where cpuset is there.
func systemdCgroup() bool {
	if os.Getenv("INVOCATION_ID") == "" {
		return false
	}
	for _, file := range []string{"/sys/fs/cgroup/cgroup.controllers", "/proc/self/cgroup"} {
		if b, err := os.ReadFile(file); err == nil && bytes.Contains(b, []byte("cpuset")) {
			return true
		}
	}
	return false
}

// mayLowerOOMScores: without CAP_SYS_RESOURCE in the bounding set, containerd
// has to leave OOM scores alone, as in a user namespace.
func mayLowerOOMScores() bool {
	n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	return err != nil || n == 1
}
