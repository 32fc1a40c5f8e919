// Package addon brings what claims need beside a plain cluster into it and
// out again: components that are pinned below images/, built without a
// container engine, proved ready and removed without a rest.
package addon

import (
	"context"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Addon is one component. The zero value of a field means that there is
// nothing of the kind: an add-on may be images alone.
type Addon struct {
	// Name is how labs and people call it, and the folder of its manifests
	// below manifests/addons.
	Name string
	// Doc says in one line of English what it is for.
	Doc string
	// Images are made, and loaded into every node, before anything is applied.
	Images []Image
	// Upstream are manifests that lie in Go modules, applied before the
	// add-on's own.
	Upstream []Upstream
	// Manifests says that there is a folder manifests/addons/NAME.
	Manifests bool
	// Quiet says that what doesn't name the add-on works beside it as without:
	// it changes no object, Pod, packet or node of others.
	Quiet bool
	// Sign is an object of the manifests by which a cluster shows that it has
	// the component by itself: one that is there and isn't labctl's. The
	// cluster's own is then used as it is.
	Sign Object
	// Own says the same where no object of the manifests shows it.
	Own func(ctx context.Context, client kubernetes.Interface) (bool, error)
	// NodeUp runs on every node before anything is applied, NodeDown after
	// everything is removed; both converge however often they are run. An
	// *evidence.Untestable says that this host can't have the add-on.
	NodeUp   func(ctx context.Context, node Node) error
	NodeDown func(ctx context.Context, node Node) error
	// Ready asks the component for what it is for. It is asked again until it
	// returns nil or Up's patience ends, so an error says what is still
	// missing; an *evidence.Untestable ends the waiting.
	Ready func(ctx context.Context, cluster provision.Cluster) error
}

// Image is a container image from scratch with one program of a Go module
// below images/. Its reference is localhost/labctl/NAME:VERSION.
type Image struct {
	// Name stands for the image in manifests, as ${image:NAME}, and in
	// scenarios, as ${IMAGE.NAME}.
	Name string
	// Module is the folder below images/ whose tools are built.
	Module string
	// Requires is the module path whose version in go.mod is the image's.
	Requires string
	// Program is the binary's name: the last element of its import path.
	Program string
	// Version is the variable (import path and name) that the linker sets to
	// the version; "" where the program knows by itself.
	Version string
	// Args are put behind the program in the entrypoint.
	Args []string
	// User is the numeric UID:GID that the program runs as; root if "".
	User string
	// Beside are more of the module's programs, which lie beside the first.
	Beside []string
	// Below makes the layers that the programs' lies on, for those that need
	// more than themselves. It runs while they are built.
	Below func(ctx context.Context, b gomodule.Builder) ([]v1.Layer, error)
}

// Upstream are files of a Go module, of the version that the go.mod of a
// folder below images/ requires.
type Upstream struct {
	// Module is the folder below images/, Requires the module path there.
	Module, Requires string
	// Files are slash-separated globs (path.Match) inside of the module.
	Files []string
}

// Object names one object of the API.
type Object struct{ APIVersion, Kind, Namespace, Name string }

// Node is one node, for the hooks of an add-on.
type Node struct {
	probe.Place
	// Cluster is the node's.
	Cluster provision.Cluster
	// Builder builds programs of images/ and takes files out of modules.
	Builder gomodule.Builder
	// Log is told how far it is.
	Log progress.Log
}

// Names are those of a table, in its order.
func Names(table []Addon) []string {
	names := make([]string, len(table))
	for i, a := range table {
		names[i] = a.Name
	}
	return names
}

// find gives the add-on of a name.
func find(table []Addon, name string) (Addon, bool) {
	i := slices.IndexFunc(table, func(a Addon) bool { return a.Name == name })
	if i < 0 {
		return Addon{}, false
	}
	return table[i], true
}
