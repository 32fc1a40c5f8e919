// Package provision makes lab clusters: a Provider brings one up, runtimes
// are configured and proved, and everything can be taken down again.
package provision

import (
	"context"
	"errors"
	"io"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// ErrNotFound is a cluster that is not there.
var ErrNotFound = errors.New("cluster not found")

// RuntimeLabel is the label of a RuntimeClass object whose value is the
// runtime (runc, gvisor, wasmedge) that stands behind the class: names of
// classes are configurable, so a cluster carries the answer itself.
const RuntimeLabel = "labctl.dev/runtime"

// ClusterSpec says what cluster to make.
type ClusterSpec struct {
	// Name of the cluster; also of the objects that a provider makes.
	Name string
	// Workers is how many nodes there are at least beside the one control
	// plane: a cluster that has more is not made anew for a lab that needs
	// fewer.
	Workers int
	// Kubeconfig is the file that gets the cluster's context; "" means
	// kubectl's own rules (KUBECONFIG, then ~/.kube/config).
	Kubeconfig string
	// RuntimeClasses maps a runtime (runc, gvisor, wasmedge) to the name of
	// its RuntimeClass.
	RuntimeClasses map[string]string
}

// Provider makes clusters whose nodes have the three runtimes.
type Provider interface {
	// Name is kind, k3s, …
	Name() string
	// Up makes the cluster or brings it to the spec; it is idempotent and
	// converges after an interruption at any point.
	Up(ctx context.Context, spec ClusterSpec, log progress.Log) (Cluster, error)
	// Get finds a running cluster; an error that is ErrNotFound if there is none.
	Get(ctx context.Context, name string) (Cluster, error)
	// Down removes what Up made and nothing else; it is no error if there is
	// nothing (left).
	Down(ctx context.Context, name string, log progress.Log) error
}

// Cluster is a running lab cluster.
type Cluster interface {
	probe.Cluster
	// Name is the cluster's name.
	Name() string
	// KubeContext is the context's name in the kubeconfig.
	KubeContext() string
	// RuntimeClasses maps a runtime to the name of its RuntimeClass.
	RuntimeClasses() map[string]string
	// LoadImages loads a docker-archive stream into every node's containerd.
	LoadImages(ctx context.Context, archive func() (io.ReadCloser, error)) error
	// HasImage says whether every node's containerd has the image.
	HasImage(ctx context.Context, ref string) (bool, error)
	// ContainerdConfig is the effective configuration of a node's containerd,
	// as `containerd config dump` prints it.
	ContainerdConfig(ctx context.Context, node string) ([]byte, error)
	// ContainerdLog is what a node's containerd logged in the last minutes.
	ContainerdLog(ctx context.Context, node string) (string, error)
}

// Attacher is a Cluster on whose nodes a command can have the caller's own
// streams, where Place.Run keeps what it prints until it ends.
type Attacher interface {
	// Attach is the command line, and what to add to its environment, that runs
	// argv on a node: with stdin, with a terminal.
	Attach(node string, stdin, terminal bool, argv ...string) (line, env []string)
}
