package kubeconfig

import (
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// The label of everything that labctl makes
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "labctl"
)

// Cluster is a cluster that was there.
type Cluster struct {
	name, path, context string
	uid                 string
	rest                *rest.Config
	client              kubernetes.Interface
	nodes               []node
	places              map[string]probe.Place
	classes             map[string]string
	images              map[string]string
	registry            string
}

var _ provision.Cluster = (*Cluster)(nil)

// Name implements provision.Cluster.
func (c *Cluster) Name() string { return c.name }

// KubeContext implements provision.Cluster.
func (c *Cluster) KubeContext() string { return c.context }

// RESTConfig implements probe.Cluster.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.rest) }

// Nodes implements probe.Cluster.
func (c *Cluster) Nodes() []string {
	names := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		names[i] = n.name
	}
	return names
}

// Node implements probe.Cluster. What is run on a node that is another
// machine is untestable.
func (c *Cluster) Node(name string) probe.Place {
	if at, ok := c.places[name]; ok {
		return at
	}
	return elsewhere{node: name, why: "the cluster has no such node"}
}

// RuntimeClass implements probe.Cluster.
func (c *Cluster) RuntimeClass(runtime string) (string, bool) {
	name, ok := c.classes[runtime]
	return name, ok
}

// RuntimeClasses implements provision.Cluster.
func (c *Cluster) RuntimeClasses() map[string]string { return maps.Clone(c.classes) }

// ProbeImage implements probe.Cluster: in the registry, where one is given.
func (c *Cluster) ProbeImage(runtime string) string {
	return c.ImageReference(c.images[runtime])
}

// ImageReference is what Pods call an image that LoadImages was given: in the
// registry, where one is given.
func (c *Cluster) ImageReference(ref string) string {
	if ref == "" || c.registry == "" {
		return ref
	}
	return inRegistry(c.registry, ref)
}

// LoadImages implements provision.Cluster: it pushes to the registry, or
// loads into the nodes that are this machine.
func (c *Cluster) LoadImages(ctx context.Context, archive func() (io.ReadCloser, error)) error {
	if c.registry != "" {
		return pushArchive(ctx, c.registry, archive)
	}
	if away := c.away(); len(away) > 0 {
		return fmt.Errorf("images can't be loaded into %s, which is not this machine; give --registry HOST/PATH, which labctl pushes to and the nodes pull from", strings.Join(away, ", "))
	}
	for _, n := range c.nodes {
		if err := load1(ctx, n.at, archive); err != nil {
			return fmt.Errorf("load images into node %s: %w", n.name, err)
		}
	}
	return nil
}

func load1(ctx context.Context, at probe.Place, archive func() (io.ReadCloser, error)) error {
	r, err := archive()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	_, err = output(ctx, at, r, "ctr", "-n", "k8s.io", "images", "import", "--all-platforms", "-")
	return err
}

// HasImage implements provision.Cluster.
func (c *Cluster) HasImage(ctx context.Context, ref string) (bool, error) {
	if c.registry != "" {
		return inRegistryAlready(ctx, inRegistry(c.registry, ref))
	}
	for _, n := range c.nodes {
		if n.away != "" {
			return false, nil // LoadImages says what can be done
		}
		out, err := output(ctx, n.at, nil, "ctr", "-n", "k8s.io", "images", "ls", "-q", "name=="+ref)
		if err != nil {
			return false, fmt.Errorf("images of node %s: %w", n.name, err)
		}
		if strings.TrimSpace(string(out)) == "" {
			return false, nil
		}
	}
	return true, nil
}

// ContainerdConfig implements provision.Cluster; it is an
// *evidence.Untestable for a node that is another machine.
func (c *Cluster) ContainerdConfig(ctx context.Context, name string) ([]byte, error) {
	n, err := c.here(name)
	if err != nil {
		return nil, err
	}
	return n.at.containerd.dump(ctx, n.at.machine)
}

// ContainerdLog implements provision.Cluster; it is an *evidence.Untestable
// for a node that is another machine.
func (c *Cluster) ContainerdLog(ctx context.Context, name string) (string, error) {
	n, err := c.here(name)
	if err != nil {
		return "", err
	}
	return n.at.containerd.log(ctx, n.at.machine)
}

func (c *Cluster) here(name string) (node, error) {
	i := slices.IndexFunc(c.nodes, func(n node) bool { return n.name == name })
	if i < 0 {
		return node{}, fmt.Errorf("the cluster has no node %s; it has %s", name, strings.Join(c.Nodes(), ", "))
	}
	if away := c.nodes[i].away; away != "" {
		return node{}, evidence.Untestablef("node %s can't be looked into from here: %s", name, away)
	}
	return c.nodes[i], nil
}

// refused says why labs can't run on the node; "" if they can.
func (n node) refused() string {
	switch {
	case n.architecture != runtime.GOARCH:
		return fmt.Sprintf("it is %s, and this labctl and its images are %s; run the labctl of that architecture", n.architecture, runtime.GOARCH)
	case !strings.HasPrefix(n.runtime, "containerd://"):
		return fmt.Sprintf("its container runtime is %s; the labs are about containerd", n.runtime)
	}
	return ""
}

// output is what a command on a node prints; a non-zero exit code is an error.
func output(ctx context.Context, at probe.Place, stdin io.Reader, argv ...string) ([]byte, error) {
	exit, err := at.Run(ctx, stdin, argv...)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("%s on %s ended with %d: %s", strings.Join(argv, " "), at.Name(), exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	return exit.Stdout, err
}
