package k3s

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/pkg/provision/bundle"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/packages"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/provision/service"
)

// facts are all that the plan depends on.
type facts struct {
	unit string
	init service.Kind
	// binary is K3s's program, "" if there is none; version is nil where it
	// can't be told, as before a download.
	binary  string
	version *version.Version
	release string // v1.34.1+k3s1
	active  bool
	// begun and installed say that labctl began to install this K3s, and that
	// the installer came to its end.
	begun, installed bool
	// portTaken says who listens on the API server's port; "" is nobody.
	portTaken string
	// free is the space below /var/lib for root, in bytes.
	free     uint64
	cgroupV1 bool
	// settings are the keys in K3s's configuration files that aren't labctl's,
	// set says whether labctl's own is as it should be.
	settings map[string]bool
	leftover string // a file of an earlier K3s below its data folder
	kept     []string

	containerd containerdFiles
	systemd    bool // the kubelet's cgroup driver
	// program paths on the box; "" where there is none
	crun, crunWithoutWasm, runsc, shim string
	runwasi                            bool
	setup                              bool // runsc's configuration is there
	bus                                bool // the system bus is there

	// programs and images come from the user's folder or a bundle.
	programs []bundle.File
	images   []bundle.File
	// packages are to be installed, missing are those of them that are wanted.
	missing, packages []string
	noApt             bool

	restartDue bool
	classes    []nodev1.RuntimeClass
	// files are the SHA-256 of files on the box that labctl may write, by path.
	files map[string]string
}

var errNotRoot = errors.New("a K3s node is made and changed by root; run labctl with sudo")

// look gathers the facts. It changes nothing.
func (p *Provider) look(ctx context.Context, s source, l *ledger.Ledger) (facts, error) {
	f := facts{unit: installer.ServiceName(p.o.Service), images: s.images, programs: s.programs, release: s.release}
	if p.m.Path("/") == "/" && os.Geteuid() != 0 {
		return f, errNotRoot
	}
	manager, err := service.Detect(p.m, f.unit)
	if err != nil {
		return f, err
	}
	f.init = manager.Kind
	var stat syscall.Statfs_t
	if err := syscall.Statfs(p.m.Path("/var/lib"), &stat); err != nil {
		return f, fmt.Errorf("space below /var/lib: %w", err)
	}
	f.free = stat.Bavail * uint64(stat.Bsize)
	for _, e := range l.Entries(ledger.K3s) {
		f.begun, f.installed = true, e.Done
	}
	f.restartDue = l.RestartDue()
	if f.binary, _ = p.m.LookPath("/usr/local/bin:/opt/bin:"+servicePath, "k3s"); f.binary != "" {
		if err := p.lookK3s(ctx, manager, &f); err != nil {
			return f, err
		}
	}
	if f.binary == "" || f.begun && !f.installed {
		if err := p.lookFresh(ctx, s, &f); err != nil {
			return f, err
		}
	}
	if f.containerd, err = p.containerdFiles(); err != nil {
		return f, err
	}
	f.systemd = systemdCgroup(f)
	if err := p.lookPrograms(ctx, &f); err != nil {
		return f, err
	}
	return f, p.lookPackages(ctx, s, &f)
}

// lookK3s looks at the K3s that is there.
func (p *Provider) lookK3s(ctx context.Context, manager service.Manager, f *facts) (err error) {
	if f.release, f.version, err = p.k3sVersion(ctx, f.binary); err != nil {
		if f.begun && !f.installed {
			return nil // half a program, which the installer replaces
		}
		return err
	}
	if f.active, err = manager.Active(ctx); err != nil || !f.active {
		return err
	}
	client, err := p.client()
	if errors.Is(err, fs.ErrNotExist) && f.begun && !f.installed {
		return nil
	}
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, p.times.answer)
	defer cancel()
	list, err := client.NodeV1().RuntimeClasses().List(limited, metav1.ListOptions{})
	if err != nil {
		if f.begun {
			return nil // it is starting for the first time
		}
		return fmt.Errorf("K3s runs (service %s), but its API server doesn't answer: %w; labctl needs a K3s that works: `k3s kubectl get nodes` shows whether it does", f.unit, err)
	}
	f.classes = list.Items
	return nil
}

// k3sVersion asks a K3s program for its release.
func (p *Provider) k3sVersion(ctx context.Context, binary string) (string, *version.Version, error) {
	out, err := p.m.Output(ctx, binary, "--version")
	if err != nil {
		return "", nil, fmt.Errorf("version of K3s: %w", err)
	}
	fields := strings.Fields(out) // k3s version v1.34.1+k3s1 (24fc436e)
	if len(fields) < 3 {
		return "", nil, fmt.Errorf("%s --version printed %q, from which no release can be read", binary, out)
	}
	v, err := version.ParseGeneric(fields[2])
	if err != nil {
		return "", nil, fmt.Errorf("%s --version printed %q: %w", binary, out, err)
	}
	return fields[2], v, nil
}

// lookFresh looks at what matters where K3s is to be installed.
func (p *Provider) lookFresh(ctx context.Context, s source, f *facts) (err error) {
	if s.binary != "" {
		// A program for another machine is refused when it is installed.
		if release, v, err := p.k3sVersion(ctx, s.binary); err == nil {
			f.release, f.version = release, v
		}
	} else if v, err := version.ParseGeneric(s.release); err == nil {
		f.version = v
	}
	if !f.begun {
		f.portTaken = listener(p.m, apiPort)
		if f.leftover, f.kept, err = p.leftover(); err != nil {
			return err
		}
	}
	// cgroups(7): the unified hierarchy alone has this file at its root.
	f.cgroupV1 = !p.exists("/sys/fs/cgroup/cgroup.controllers")
	return p.lookSettings(f)
}

// leftover finds a file below K3s's folder of data, which a new K3s would
// take up. Images that wait for it there are no leftover but kept: K3s's
// uninstall script would take them
// (https://docs.k3s.io/installation/airgap#prepare-the-images-directory).
func (p *Provider) leftover() (found string, kept []string, err error) {
	err = filepath.WalkDir(p.m.Path(dataDir), func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		name := path.Join("/", strings.TrimPrefix(file, p.m.Path("/")))
		if path.Dir(name) == imagesDir && d.Type().IsRegular() {
			kept = append(kept, name)
			return nil
		}
		found = name
		return fs.SkipAll
	})
	return found, kept, err
}

// lookSettings reads the configuration that waits for a K3s.
func (p *Provider) lookSettings(f *facts) error {
	f.settings = map[string]bool{}
	err := filepath.WalkDir(p.m.Path(configDir), func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Join("/", strings.TrimPrefix(file, p.m.Path("/")))
		if d.IsDir() || name == settings || name == adminConfig {
			return nil
		}
		f.kept = append(f.kept, name)
		if name != configDir+"/config.yaml" && path.Dir(name) != path.Dir(settings) {
			return nil
		}
		text, err := p.m.ReadFile(name)
		if err != nil {
			return err
		}
		var keys map[string]any
		if err := yaml.Unmarshal(text, &keys); err != nil {
			return fmt.Errorf("%s: %w; K3s wouldn't start with it", name, err)
		}
		for key := range keys {
			f.settings[strings.TrimSuffix(key, "+")] = true
		}
		return nil
	})
	return err
}

// containerdFiles reads K3s's folder of containerd's configuration.
func (p *Provider) containerdFiles() (containerdFiles, error) {
	c := containerdFiles{DropIns: map[string][]byte{}}
	for file, into := range map[string]*[]byte{rendered: &c.Rendered, templateV3: &c.TemplateV3, templateV2: &c.TemplateV2, dropIn: &c.DropIn} {
		text, err := p.m.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
		*into = text
	}
	entries, err := os.ReadDir(p.m.Path(dropIns))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	for _, e := range entries {
		name := path.Join(dropIns, e.Name())
		if path.Ext(name) != ".toml" || name == dropIn {
			continue
		}
		if c.DropIns[e.Name()], err = p.m.ReadFile(name); err != nil {
			return c, err
		}
	}
	return c, nil
}

// systemdCgroup is the kubelet's cgroup driver, which K3s chooses and writes
// into runc's options; before K3s has started it is what K3s will choose.
func systemdCgroup(f facts) bool {
	now, err := parseContainerd(f.containerd.Rendered)
	options, ok := now.handlers[runtimes.Runc]["options"].(map[string]any)
	if err != nil || !ok {
		return f.init == service.Systemd
	}
	systemd, _ := options["SystemdCgroup"].(bool)
	return systemd
}

// lookPrograms finds the runtimes' programs.
func (p *Provider) lookPrograms(ctx context.Context, f *facts) error {
	given := map[string]bool{}
	f.files = map[string]string{}
	for _, g := range f.programs {
		if strings.Contains(g.Name, ".so") {
			return fmt.Errorf("%s is a library, and labctl puts programs on the machine, not libraries; take a program that is linked statically, or let labctl install packages", g.Path)
		}
		given[g.Name] = true
		to := path.Join(layout("", false).Bin, g.Name)
		digest, err := (ledger.Content{File: p.m.Path(to)}).Digest()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f.files[to] = digest
	}
	f.shim, _ = p.m.LookPath(servicePath, runscShim)
	f.runsc, _ = p.m.LookPath(servicePath, "runsc")
	_, f.runwasi = p.m.LookPath(operatorPath+":"+servicePath, runwasiShim)
	f.runwasi = f.runwasi || given[runwasiShim]
	for _, dir := range filepath.SplitList(servicePath) {
		crun, there := p.m.LookPath(dir, "crun")
		if !there {
			continue
		}
		// crun(1): the line of features has +WASM:wasmedge.
		out, err := p.m.Output(ctx, crun, "--version")
		if err == nil && strings.Contains(out, "+WASM:wasmedge") {
			f.crun = crun
			break
		}
		f.crunWithoutWasm = crun
	}
	f.setup, f.bus = p.exists(layout("", false).RunscConfig), p.exists(busSocket)
	return nil
}

func (p *Provider) exists(name string) bool {
	_, err := os.Stat(p.m.Path(name))
	return err == nil
}

// lookPackages asks apt what is missing and what would come with it.
func (p *Provider) lookPackages(ctx context.Context, s source, f *facts) (err error) {
	if p.o.RuntimeFiles != "" {
		return nil // in place of packages
	}
	given := map[string]bool{}
	for _, g := range s.programs {
		given[g.Name] = true
	}
	var names []string
	for _, name := range runtimes.Packages() {
		switch name {
		case "crun", "libwasmedge0", "wasmedge":
			if f.runwasi || f.crun != "" && !strings.HasPrefix(f.crun, "/usr/bin/") && !strings.HasPrefix(f.crun, "/bin/") {
				continue // another program stands behind WasmEdge
			}
		case "runsc":
			if given["runsc"] || f.runsc != "" {
				continue
			}
		}
		names = append(names, name)
	}
	if f.missing, err = packages.Missing(ctx, p.m, names); err != nil {
		if errors.Is(err, packages.ErrNoApt) && (f.crun != "" || f.runwasi) && f.runsc != "" {
			f.noApt = true // the runtimes are there without it
			return nil
		}
		return err
	}
	if len(f.missing) == 0 {
		return nil
	}
	f.packages, err = packages.Plan(ctx, p.m, f.missing, s.debs)
	return err
}
