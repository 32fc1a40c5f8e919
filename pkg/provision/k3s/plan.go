package k3s

import (
	"fmt"
	"path"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
)

// Plan is what Up, and its caller after it, would do to the machine.
type Plan struct {
	Cluster string `json:"cluster"`
	// K3s is the release that is there or will be; "" where only the download
	// tells.
	K3s string `json:"k3s,omitempty"`
	// Installed says that this K3s is there already.
	Installed bool     `json:"installed"`
	Changes   []Change `json:"changes"`
}

// Kind is a kind of thing that is changed.
type Kind string

// The kinds, in the order in which they are told.
const (
	Program Kind = "program" // K3s itself
	Package Kind = "package"
	File    Kind = "file"
	Unit    Kind = "unit"
	Object  Kind = "object" // in the cluster
	Image   Kind = "image"
	Context Kind = "context" // of a kubeconfig
)

var kinds = []struct {
	kind  Kind
	title string
}{
	{Program, "K3s"}, {Package, "Packages"}, {File, "Files"}, {Unit, "Units"},
	{Object, "Objects"}, {Image, "Images"}, {Context, "Kubeconfig"},
}

// Action is what is done.
type Action string

// The actions.
const (
	Install Action = "install"
	Write   Action = "write"
	Start   Action = "start"
	Restart Action = "restart"
	Make    Action = "make"
	Update  Action = "update"
	Load    Action = "load"
	Use     Action = "use" // it is there and stays as it is
)

// Change is one thing that Up does, or leaves as it is.
type Change struct {
	Kind   Kind   `json:"kind"`
	Action Action `json:"action"`
	Name   string `json:"name"`
	Why    string `json:"why,omitempty"`

	step  step
	write ledger.Write
}

// step says how a change is made. The changes of one phase are made together;
// then the machine is looked at again.
type step int

const (
	told      step = iota // made by another step, or by the caller of Up
	put                   // write a file
	install               // run the installer
	start                 // start the service
	apt                   // install packages
	putShim               // put gVisor's shim, which may have to be built
	fit                   // fit runsc to the kernel
	startBus              // start the system bus
	configure             // write containerd's configuration
	restart               // restart K3s
)

// phases are the steps between which the machine is looked at.
var phases = []func(Change) bool{
	func(c Change) bool {
		return c.step == install || c.step == start || c.step == put && c.write.Path != "" && !isProgram(c)
	},
	func(c Change) bool {
		return c.step == apt || c.step == putShim || c.step == put && isProgram(c)
	},
	func(c Change) bool { return c.step == fit || c.step == startBus },
	func(c Change) bool { return c.step == configure || c.step == restart },
}

func isProgram(c Change) bool { return path.Dir(c.Name) == layout("", false).Bin }

// next are the changes of the first phase that has any.
func (p Plan) next() []Change {
	for _, in := range phases {
		var now []Change
		for _, c := range p.Changes {
			if in(c) {
				now = append(now, c)
			}
		}
		if len(now) > 0 {
			return now
		}
	}
	return nil
}

// String is the plan for people.
func (p Plan) String() string {
	var b strings.Builder
	switch {
	case p.Installed:
		fmt.Fprintf(&b, "K3s %s is there and stays as it is.\n", p.K3s)
	case p.K3s != "":
		fmt.Fprintf(&b, "K3s %s is installed.\n", p.K3s)
	default:
		b.WriteString("K3s is installed.\n")
	}
	for _, k := range kinds {
		title := "\n" + k.title + "\n"
		for _, c := range p.Changes {
			if c.Kind != k.kind {
				continue
			}
			b.WriteString(title)
			title = ""
			fmt.Fprintf(&b, "  %-8s%s", c.Action, c.Name)
			if c.Why != "" {
				b.WriteString(": " + c.Why)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
