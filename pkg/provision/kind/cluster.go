package kind

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/kind/pkg/cluster/constants"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Cluster is a running kind cluster that labctl made.
type Cluster struct {
	name    string
	e       *engine.Engine
	nodes   []string
	rest    *rest.Config
	client  kubernetes.Interface
	config  *clientcmdapi.Config // one context, admin
	classes map[string]string
	images  map[string]string
	equip   func(probe.Place) probe.Place
	places  map[string]probe.Place
}

var _ provision.Cluster = (*Cluster)(nil)

// connect gets the admin's kubeconfig from the control plane. A cluster that
// has none is Broken.
func (p *Provider) connect(ctx context.Context, e *engine.Engine, name string, nodes []node) (*Cluster, error) {
	c := &Cluster{name: name, e: e, images: p.o.ProbeImages, equip: p.o.Equip, places: map[string]probe.Place{}}
	plane := ""
	for _, n := range nodes {
		c.nodes = append(c.nodes, n.name)
		if n.role == constants.ControlPlaneNodeRoleValue {
			plane = n.name
		}
		var at probe.Place = place{e: e, node: n.name}
		if c.equip != nil {
			at = c.equip(at)
		}
		c.places[n.name] = at
	}
	if plane == "" {
		return nil, brokenf("it has no control plane")
	}
	exit, err := place{e: e, node: plane}.Run(ctx, nil, "cat", "/etc/kubernetes/admin.conf")
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil:
		// Podman believes the process that watches a container (conmon): where
		// both were killed, it calls the node running for ever, starts it no
		// more, and still removes it.
		return nil, brokenf("nothing can be run in its control plane (%v)", err)
	case exit.Code != 0:
		return nil, brokenf("its control plane was never set up")
	}
	r, err := e.Run(ctx, "port", plane, "6443/tcp")
	if err != nil {
		return nil, explain(err)
	}
	if c.config, err = adminConfig(exit.Stdout, name, string(r.Stdout)); err != nil {
		return nil, err
	}
	if c.rest, err = clientcmd.NewDefaultClientConfig(*c.config, nil).ClientConfig(); err != nil {
		return nil, fmt.Errorf("kubeconfig of cluster %s: %w", name, err)
	}
	// Probes of many claims ask at once; client-go's default of 5 a second is
	// for controllers.
	c.rest.QPS, c.rest.Burst = 50, 100
	if c.client, err = kubernetes.NewForConfig(c.rest); err != nil {
		return nil, fmt.Errorf("client of cluster %s: %w", name, err)
	}
	return c, nil
}

// adminConfig turns kubeadm's admin.conf into a kubeconfig for this machine;
// published is what the engine's `port` prints.
func adminConfig(raw []byte, cluster, published string) (*clientcmdapi.Config, error) {
	admin, err := clientcmd.Load(raw)
	if err != nil {
		return nil, fmt.Errorf("admin.conf of cluster %s: %w", cluster, err)
	}
	current, ok := admin.Contexts[admin.CurrentContext]
	if !ok || admin.Clusters[current.Cluster] == nil || admin.AuthInfos[current.AuthInfo] == nil {
		return nil, fmt.Errorf("admin.conf of cluster %s has no usable context", cluster)
	}
	address, _, _ := strings.Cut(strings.TrimSpace(published), "\n")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("published port of cluster %s: %w", cluster, err)
	}
	if host == "" || host == "0.0.0.0" {
		host = "127.0.0.1"
	}
	key := contextOf(cluster)
	server := admin.Clusters[current.Cluster].DeepCopy()
	server.Server = "https://" + net.JoinHostPort(host, port)
	config := clientcmdapi.NewConfig()
	config.Clusters[key] = server
	config.AuthInfos[key] = admin.AuthInfos[current.AuthInfo].DeepCopy()
	config.Contexts[key] = &clientcmdapi.Context{Cluster: key, AuthInfo: key}
	config.CurrentContext = key
	return config, nil
}

// contextOf is the context's name, as kind itself names it.
func contextOf(cluster string) string { return "kind-" + cluster }

// Name implements provision.Cluster.
func (c *Cluster) Name() string { return c.name }

// KubeContext implements provision.Cluster.
func (c *Cluster) KubeContext() string { return contextOf(c.name) }

// RESTConfig implements probe.Cluster.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.rest) }

// Nodes implements probe.Cluster; the control plane comes first.
func (c *Cluster) Nodes() []string { return slices.Clone(c.nodes) }

// Node implements probe.Cluster. For a name that the cluster doesn't have,
// every Run is an error.
func (c *Cluster) Node(name string) probe.Place {
	if at, ok := c.places[name]; ok {
		return at
	}
	return nowhere{cluster: c.name, node: name, nodes: c.nodes}
}

// RuntimeClass implements probe.Cluster.
func (c *Cluster) RuntimeClass(runtime string) (string, bool) {
	name, ok := c.classes[runtime]
	return name, ok
}

// ProbeImage implements probe.Cluster.
func (c *Cluster) ProbeImage(runtime string) string { return c.images[runtime] }

// LoadImages implements provision.Cluster.
func (c *Cluster) LoadImages(ctx context.Context, archive func() (io.ReadCloser, error)) error {
	for _, n := range c.nodes {
		if err := c.loadImages(ctx, n, archive); err != nil {
			return fmt.Errorf("load images into node %s: %w", n, err)
		}
	}
	return nil
}

func (c *Cluster) loadImages(ctx context.Context, node string, archive func() (io.ReadCloser, error)) error {
	r, err := archive()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	cmd := c.e.Command("exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "--all-platforms", "-")
	cmd.Stdin = r
	if _, err := process.Run(ctx, cmd); err != nil {
		return explain(err)
	}
	return nil
}

// HasImage implements provision.Cluster.
func (c *Cluster) HasImage(ctx context.Context, ref string) (bool, error) {
	for _, n := range c.nodes {
		out, err := c.output(ctx, n, "ctr", "-n", "k8s.io", "images", "ls", "-q", "name=="+ref)
		if err != nil {
			return false, fmt.Errorf("images of node %s: %w", n, err)
		}
		if strings.TrimSpace(string(out)) == "" {
			return false, nil
		}
	}
	return true, nil
}

// ContainerdConfig implements provision.Cluster.
func (c *Cluster) ContainerdConfig(ctx context.Context, node string) ([]byte, error) {
	return c.output(ctx, node, "containerd", "config", "dump")
}

// ContainerdLog implements provision.Cluster.
func (c *Cluster) ContainerdLog(ctx context.Context, node string) (string, error) {
	out, err := c.output(ctx, node, "journalctl", "--unit=containerd", "--no-pager", "--output=cat", "--since=-5min")
	return string(out), err
}

// output is what a command on a node prints; a non-zero exit code is an error.
func (c *Cluster) output(ctx context.Context, node string, argv ...string) ([]byte, error) {
	exit, err := c.Node(node).Run(ctx, nil, argv...)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("%s on node %s ended with %d: %s", strings.Join(argv, " "), node, exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	return exit.Stdout, err
}

// readClasses finds the RuntimeClasses that labctl labelled, by runtime.
func readClasses(ctx context.Context, config *rest.Config) (map[string]string, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	list, err := client.NodeV1().RuntimeClasses().List(ctx, metav1.ListOptions{LabelSelector: provision.RuntimeLabel})
	if err != nil {
		return nil, fmt.Errorf("list RuntimeClasses: %w", err)
	}
	classes := map[string]string{}
	for _, class := range list.Items {
		classes[class.Labels[provision.RuntimeLabel]] = class.Name
	}
	return classes, nil
}

// nowhere is a node that the cluster doesn't have.
type nowhere struct {
	cluster, node string
	nodes         []string
}

func (n nowhere) Name() string     { return "node/" + n.node }
func (n nowhere) Labprobe() string { return "" }
func (n nowhere) Run(context.Context, io.Reader, ...string) (probe.Exit, error) {
	return probe.Exit{}, fmt.Errorf("cluster %s has no node %q; it has %s", n.cluster, n.node, strings.Join(n.nodes, ", "))
}

// RuntimeClasses maps runtimes to the names of their RuntimeClasses.
func (c *Cluster) RuntimeClasses() map[string]string { return maps.Clone(c.classes) }
