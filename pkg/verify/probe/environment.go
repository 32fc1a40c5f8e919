package probe

import (
	"context"
	"io"
	"io/fs"

	"k8s.io/client-go/rest"
)

// Environment is what a probe may touch. Its parts are nil or empty where
// the run has none (no cluster, no QEMU); a probe that needs one then
// returns an *evidence.Untestable that says so.
type Environment struct {
	// Cluster is the lab cluster, or nil.
	Cluster Cluster
	// Namespace is the lab's own namespace in the cluster, already created.
	Namespace string
	// MicroVM holds what a microVM is booted from, or nil.
	MicroVM *MicroVM
	// Docker is the container in which a Docker of the run's own is at work,
	// or nil.
	Docker Place
	// Manifests are the files that scenarios apply, by their paths below the
	// manifests folder.
	Manifests fs.FS
	// Images are the references of the add-ons' images that the nodes have,
	// by their short names (opa, pause).
	Images map[string]string
	// Later takes what a probe doesn't wait for itself: that what it deleted is
	// gone. The run waits for it at its end, and says what its error tells.
	// Where it is nil the probe waits.
	Later func(wait func(context.Context) error)
}

// Cluster is the view of a lab cluster that probes have.
type Cluster interface {
	// RESTConfig is for client-go.
	RESTConfig() *rest.Config
	// Nodes are the names of the Kubernetes nodes.
	Nodes() []string
	// Node runs commands on a node of the cluster, as root.
	Node(name string) Place
	// RuntimeClass is the name of the RuntimeClass of a runtime (runc,
	// gvisor, wasmedge); false where the cluster doesn't have it.
	RuntimeClass(runtime string) (name string, ok bool)
	// ProbeImage is the image reference of labprobe for a runtime. Every node
	// has it or can pull it: the pull policy is IfNotPresent.
	ProbeImage(runtime string) string
}

// Place runs commands somewhere: on the host, on a node.
type Place interface {
	// Name is host or node/NAME, as evidence sources say it.
	Name() string
	// Run runs argv and waits; a non-zero exit code is no error. stdin may be
	// nil. A place that can't be reached from here is an *evidence.Untestable.
	Run(ctx context.Context, stdin io.Reader, argv ...string) (Exit, error)
	// Labprobe is the path of the labprobe binary there.
	Labprobe() string
}

// MicroVM says what microVMs boot from.
type MicroVM struct {
	QEMU      string // path of qemu-system-x86_64
	Kernel    string // path of a bzImage, or of an ELF kernel with a PVH entry
	Initramfs string // path of a cpio archive whose /init is labprobe
}
