package k3s

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/provision/service"
)

// plan compares the machine with what labs need. It is a pure function.
func plan(f facts, o Options, spec provision.ClusterSpec) (Plan, error) {
	p := Plan{Cluster: spec.Name, K3s: f.release, Installed: f.binary != "" && (!f.begun || f.installed)}
	if err := refuse(f, spec); err != nil {
		return p, err
	}
	if !p.Installed {
		p.install(f, o)
	} else if !f.active {
		p.add(Change{Kind: Unit, Action: Start, Name: f.unit, Why: "labctl installed it", step: start})
	}
	a, err := addFor(f)
	if err != nil {
		return p, err
	}
	if err := p.runtimes(f, o, a); err != nil {
		return p, err
	}
	p.containerd(f, a)
	if err := p.objects(f, spec.RuntimeClasses); err != nil {
		return p, err
	}
	for _, ref := range slices.Compact(slices.Sorted(maps.Values(o.ProbeImages))) {
		p.add(Change{Kind: Image, Action: Load, Name: ref, Why: "labprobe, into K3s's containerd, if it isn't there"})
	}
	p.add(Change{Kind: Context, Action: Make, Name: contextOf(spec.Name), Why: "a copy of " + adminConfig + " under another name, if it isn't there"})
	return p, nil
}

func (p *Plan) add(c Change) { p.Changes = append(p.Changes, c) }

// Space that is needed below /var/lib, in bytes: a K3s unpacks itself and its
// images, and the runtimes' packages are mostly LLVM, which WasmEdge is linked
// with.
const (
	freshSpace = 1 << 30
	addedSpace = 250 << 20
)

// refuse is everything that stands in the way.
func refuse(f facts, spec provision.ClusterSpec) error {
	var errs []error
	no := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if spec.Workers > 0 {
		no("a K3s that labctl makes is this one machine, so there are no %d workers; --provider kind has them", spec.Workers)
	}
	fresh := f.binary == "" && !f.begun
	if f.binary != "" && !f.active && !f.begun {
		no("K3s is installed (%s), but its service %s doesn't run, and labctl doesn't start what it didn't install; start it, or name its service with --k3s-service, or remove K3s with its own uninstall script", f.binary, f.unit)
	}
	if fresh && f.portTaken != "" {
		no("port %d, which the API server of K3s needs, is taken by %s; stop it, or use --provider kubeconfig if that is a cluster to use", apiPort, f.portTaken)
	}
	if fresh && f.leftover != "" {
		no("K3s isn't installed, but an earlier one left %s: a new one would take it up, and its uninstall script removes it; move %s away, or install K3s yourself and run labctl again", f.leftover, dataDir)
	}
	need := uint64(0)
	if len(f.packages) > 0 {
		need = addedSpace
	}
	if fresh {
		need += freshSpace
	}
	if f.free < need {
		no("below /var/lib are %d MiB free, and %d MiB are needed for what is still to be installed", f.free>>20, need>>20)
	}
	return errors.Join(errs...)
}

// install plans K3s itself.
func (p *Plan) install(f facts, o Options) {
	from := o.Installer
	if o.Airgap != "" {
		from = o.Airgap
	}
	if from == "" {
		from = installer.PublicAddress
	}
	binary := ""
	switch {
	case o.Airgap != "":
	case o.Binary != "":
		binary = ", with the program " + o.Binary
	case o.Version != "":
		binary = ", which downloads " + o.Version
	case o.Channel != "":
		binary = ", which downloads the release of the channel " + o.Channel
	default:
		binary = ", which downloads the stable release"
	}
	p.add(Change{Kind: File, Action: Write, Name: settings, Why: "K3s without add-ons that no lab needs", step: put,
		write: ledger.Write{Path: settings, Mode: 0o600, Content: ledger.Content{Bytes: settingsFile(f)}}})
	for _, i := range f.images {
		to := path.Join(imagesDir, i.Name)
		p.add(Change{Kind: File, Action: Write, Name: to, Why: "K3s's images", step: put,
			write: ledger.Write{Path: to, Mode: 0o644, Content: ledger.Content{File: i.Path}}})
	}
	p.add(Change{Kind: Program, Action: Install, Name: "/usr/local/bin/k3s", Why: "by K3s's own installer from " + from + binary, step: install})
	p.add(Change{Kind: Unit, Action: Make, Name: f.unit, Why: "by K3s's installer (" + string(f.init) + ")"})
}

// settingsFile is K3s's configuration for a machine that is for labs
// (https://docs.k3s.io/installation/configuration#multiple-config-files).
func settingsFile(f facts) []byte {
	var b strings.Builder
	b.WriteString("# Written by labctl before it installed K3s.\n")
	list := func(key string, values ...string) {
		if f.settings[key] {
			key += "+" // beside the user's own
		}
		fmt.Fprintf(&b, "%s:\n", key)
		for _, v := range values {
			fmt.Fprintf(&b, "- %s\n", v)
		}
	}
	list("disable", "traefik", "servicelb", "metrics-server")
	// The kubelet of 1.35 and newer ends on cgroup v1 unless it is told not to (KEP-5573).
	if f.cgroupV1 && (f.version == nil || f.version.AtLeast(version.MustParseGeneric("1.35.0"))) {
		list("kubelet-arg", "fail-cgroupv1=false")
	}
	return []byte(b.String())
}

// addFor is the addition to containerd's configuration; where K3s hasn't
// started yet it is what is to be expected.
func addFor(f facts) (addition, error) {
	if f.containerd.Rendered == nil && (!f.active || f.begun && !f.installed) {
		a := addition{mechanism: byDropIn, changed: true, handlers: []string{runtimes.GVisor, runtimes.WasmEdge}}
		if f.version != nil && !f.version.AtLeast(version.MustParseGeneric("1.31.6")) {
			a.mechanism = byTemplateV2
		}
		if f.runwasi {
			a.handlers = []string{runtimes.GVisor}
		}
		return a, nil
	}
	crun := f.crun
	if crun == "" {
		crun = "/usr/bin/crun" // where the package puts it
		for _, g := range f.programs {
			if g.Name == "crun" {
				crun = path.Join(layout("", false).Bin, g.Name)
			}
		}
	}
	return add(f.containerd, f.version, layout(crun, f.systemd), f.runwasi)
}

// runtimes plans the runtimes' programs.
func (p *Plan) runtimes(f facts, o Options, a addition) error {
	for _, name := range f.packages {
		c := Change{Kind: Package, Action: Install, Name: name, step: apt}
		if !slices.Contains(f.missing, name) {
			c.Why = "another needs it"
		}
		p.add(c)
	}
	given := map[string]bool{} // and not put yet
	for _, g := range f.programs {
		to := path.Join(layout("", false).Bin, g.Name)
		if f.files[to] == g.SHA256 {
			continue // it is on PATH, and was found if it is right
		}
		given[g.Name] = true
		p.add(Change{Kind: File, Action: Write, Name: to, Why: "from " + g.Path, step: put,
			write: ledger.Write{Path: to, Mode: 0o755, Content: ledger.Content{File: g.Path}}})
	}
	apt := func(name string) bool { return slices.Contains(f.packages, name) }
	var errs []error
	if slices.Contains(a.handlers, runtimes.WasmEdge) && f.crun == "" && !given["crun"] && !apt("crun") {
		what := "there is no crun"
		if f.crunWithoutWasm != "" {
			what = f.crunWithoutWasm + " is built without WasmEdge (its --version has no +WASM:wasmedge)"
		}
		errs = append(errs, fmt.Errorf("WasmEdge: %s; give one that is built with it, or runwasi's %s, with --runtime-files DIR", what, runwasiShim))
	}
	// Debian's package doesn't start the bus on a machine that runs without one.
	if slices.Contains(a.handlers, runtimes.WasmEdge) && f.systemd && f.init == service.Systemd && !f.bus {
		p.add(Change{Kind: Unit, Action: Start, Name: busUnit, Why: "crun asks systemd for cgroups through the system bus", step: startBus})
	}
	if !slices.Contains(a.handlers, runtimes.GVisor) {
		return errors.Join(errs...)
	}
	if f.runsc == "" && !given["runsc"] && !apt("runsc") {
		errs = append(errs, errors.New("gVisor: there is no runsc; give one with --runtime-files DIR"))
	}
	if f.shim == "" && !given[runscShim] {
		if o.Airgap != "" {
			errs = append(errs, fmt.Errorf("gVisor: the folder %s has no %s; make it again with labctl bundle k3s", o.Airgap, runscShim))
		}
		to := path.Join(layout("", false).Bin, runscShim)
		p.add(Change{Kind: File, Action: Write, Name: to, Why: "gVisor's shim for containerd", step: putShim, write: ledger.Write{Path: to}})
	}
	if !f.setup {
		l := layout("", false)
		p.add(Change{Kind: File, Action: Write, Name: l.Setup(), Why: "tries how runsc runs on this kernel, once", step: fit})
		p.add(Change{Kind: File, Action: Write, Name: path.Join(l.Bin, "labctl-runsc"), Why: "starts runsc where the kernel needs that"})
		p.add(Change{Kind: File, Action: Write, Name: l.RunscConfig, Why: "what the shim gives to runsc"})
	}
	return errors.Join(errs...)
}

// containerd plans its configuration, and the restart that reads it.
func (p *Plan) containerd(f facts, a addition) {
	for _, name := range []string{runtimes.GVisor, runtimes.WasmEdge} {
		if slices.Contains(a.others, name) {
			p.add(Change{Kind: File, Action: Use, Name: rendered, Why: "it has, or K3s will give it, a handler " + name + " that isn't labctl's"})
		}
	}
	why := "handlers " + strings.Join(a.handlers, " and ")
	expected := f.containerd.Rendered == nil
	if expected {
		why += " (or in a template beside it: which, K3s tells when it has started)"
	}
	if a.changed {
		p.add(Change{Kind: File, Action: Write, Name: a.file, Why: why, step: configure,
			write: ledger.Write{Path: a.file, Mode: 0o600, Content: ledger.Content{Bytes: a.content}, Restart: true, Block: blockOf(a)}})
	}
	now, err := parseContainerd(f.containerd.Rendered)
	_, wasm := now.handlers[runtimes.WasmEdge]
	switch {
	case a.changed || f.restartDue:
		p.add(Change{Kind: Unit, Action: Restart, Name: f.unit, Why: "its containerd gets another configuration; Pods go on", step: restart})
	case f.runwasi && err == nil && !expected && !wasm && !slices.ContainsFunc(slices.Collect(maps.Keys(f.containerd.DropIns)), f.hasWasmEdge):
		p.add(Change{Kind: Unit, Action: Restart, Name: f.unit, Why: "K3s finds runwasi's shim when it starts; Pods go on", step: restart})
	}
}

// hasWasmEdge says whether a drop-in of the user's has the handler.
func (f facts) hasWasmEdge(name string) bool {
	p, err := parseContainerd(f.containerd.DropIns[name])
	_, there := p.handlers[runtimes.WasmEdge]
	return err == nil && there
}

func blockOf(a addition) *ledger.Block {
	if a.template {
		return block
	}
	return nil
}

// objects plans the RuntimeClasses.
func (p *Plan) objects(f facts, classes map[string]string) error {
	var errs []error
	for _, runtime := range runtimes.Names {
		name, wanted := classes[runtime]
		if !wanted {
			continue
		}
		c := Change{Kind: Object, Action: Make, Name: "RuntimeClass " + name, Why: "handler " + runtime}
		for _, there := range f.classes {
			if there.Name != name {
				continue
			}
			asItIs, err := runtimes.CheckClass(&there, runtime, runtimes.MadeByK3s)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("RuntimeClass %s: %w", name, err))
			case asItIs:
				c.Action, c.Why = Use, "K3s made it, with the handler "+runtime
			default:
				c.Action, c.Why = Update, "labctl made it"
			}
		}
		p.add(c)
	}
	return errors.Join(errs...)
}
