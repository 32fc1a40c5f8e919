package k3s

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Cluster is the K3s of this machine, prepared by labctl.
type Cluster struct {
	p       *Provider
	name    string
	node    string // this machine's
	others  int    // nodes that are other machines
	at      probe.Place
	rest    *rest.Config
	client  kubernetes.Interface
	config  *clientcmdapi.Config // one context, admin
	classes map[string]string
}

var _ provision.Cluster = (*Cluster)(nil)

// connect reaches the K3s that runs on this machine and finds its node.
func (p *Provider) connect(ctx context.Context, name string) (*Cluster, error) {
	c := &Cluster{p: p, name: name}
	raw, err := p.m.ReadFile(adminConfig)
	if err != nil {
		return nil, fmt.Errorf("K3s's kubeconfig: %w; on a machine that is only an agent, labctl has no access to the cluster", err)
	}
	if c.config, err = renamed(raw, contextOf(name)); err != nil {
		return nil, err
	}
	if c.rest, err = clientcmd.NewDefaultClientConfig(*c.config, nil).ClientConfig(); err != nil {
		return nil, fmt.Errorf("%s: %w", adminConfig, err)
	}
	// Probes of many claims ask at once; client-go's default of 5 a second is
	// for controllers.
	c.rest.QPS, c.rest.Burst = 50, 100
	if c.client, err = p.newClient(c.rest); err != nil {
		return nil, fmt.Errorf("client for K3s: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, p.times.answer)
	defer cancel()
	nodes, err := c.client.CoreV1().Nodes().List(limited, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("K3s's API server doesn't answer: %w", err)
	}
	here, err := p.here(nodes.Items)
	if err != nil {
		return nil, err
	}
	c.node, c.others = here.Name, len(nodes.Items)-1
	c.at = place{m: p.m, node: c.node}
	if p.o.Equip != nil {
		c.at = p.o.Equip(c.at)
	}
	return c, nil
}

// client is one for the K3s that runs on this machine. Without its kubeconfig
// it is fs.ErrNotExist.
func (p *Provider) client() (kubernetes.Interface, error) {
	raw, err := p.m.ReadFile(adminConfig)
	if err != nil {
		return nil, fmt.Errorf("K3s's kubeconfig: %w", err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", adminConfig, err)
	}
	return p.newClient(config)
}

// renamed is K3s's kubeconfig, in which everything is called default, with
// another name for its context, cluster and user.
func renamed(raw []byte, key string) (*clientcmdapi.Config, error) {
	admin, err := clientcmd.Load(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", adminConfig, err)
	}
	current, ok := admin.Contexts[admin.CurrentContext]
	if !ok || admin.Clusters[current.Cluster] == nil || admin.AuthInfos[current.AuthInfo] == nil {
		return nil, fmt.Errorf("%s has no usable context", adminConfig)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[key] = admin.Clusters[current.Cluster].DeepCopy()
	config.AuthInfos[key] = admin.AuthInfos[current.AuthInfo].DeepCopy()
	config.Contexts[key] = &clientcmdapi.Context{Cluster: key, AuthInfo: key}
	config.CurrentContext = key
	return config, nil
}

// here is the node that is this machine: the one with its machine id and its
// boot id (machine-id(5), random(4)). Clones of a disk share the first, and
// nodes that are containers the second.
func (p *Provider) here(nodes []corev1.Node) (*corev1.Node, error) {
	boot, err := p.m.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	id, err := p.m.ReadFile("/etc/machine-id")
	if errors.Is(err, fs.ErrNotExist) {
		id, err = p.m.ReadFile("/var/lib/dbus/machine-id")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, n := range nodes {
		info := n.Status.NodeInfo
		if info.BootID == string(bytes.TrimSpace(boot)) && (len(id) == 0 || info.MachineID == string(bytes.TrimSpace(id))) {
			return &n, nil
		}
		names = append(names, n.Name)
	}
	return nil, fmt.Errorf("none of K3s's nodes (%s) has this machine's boot id and machine id", strings.Join(names, ", "))
}

// Name implements provision.Cluster.
func (c *Cluster) Name() string { return c.name }

// KubeContext implements provision.Cluster.
func (c *Cluster) KubeContext() string { return contextOf(c.name) }

// RESTConfig implements probe.Cluster.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.rest) }

// Nodes implements probe.Cluster. Of a K3s with several nodes it is the one
// that labctl prepared.
func (c *Cluster) Nodes() []string { return []string{c.node} }

// Node implements probe.Cluster. On a node that is another machine every Run
// is untestable.
func (c *Cluster) Node(name string) probe.Place {
	if name == c.node {
		return c.at
	}
	return elsewhere{node: name, here: c.node}
}

// RuntimeClass implements probe.Cluster.
func (c *Cluster) RuntimeClass(runtime string) (string, bool) {
	name, ok := c.classes[runtime]
	return name, ok
}

// RuntimeClasses implements provision.Cluster.
func (c *Cluster) RuntimeClasses() map[string]string { return maps.Clone(c.classes) }

// ProbeImage implements probe.Cluster.
func (c *Cluster) ProbeImage(runtime string) string { return c.p.o.ProbeImages[runtime] }

// readClasses finds the RuntimeClasses of the labs: labctl's own first, then
// those that K3s made for handlers of the runtimes' names.
func (c *Cluster) readClasses(ctx context.Context) (map[string]string, error) {
	list, err := c.client.NodeV1().RuntimeClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list RuntimeClasses: %w", err)
	}
	classes := map[string]string{}
	for _, class := range list.Items {
		if runtimes.MadeByK3s(&class) && slices.Contains(runtimes.Names, class.Handler) {
			classes[class.Handler] = class.Name
		}
	}
	for _, class := range list.Items {
		if runtime := class.Labels[provision.RuntimeLabel]; runtime != "" {
			classes[runtime] = class.Name
		}
	}
	return classes, nil
}

// LoadImages implements provision.Cluster. What wasn't there is noted in the
// ledger first.
func (c *Cluster) LoadImages(ctx context.Context, archive func() (io.ReadCloser, error)) error {
	if err := c.noteImages(ctx, archive); err != nil {
		return fmt.Errorf("load images into node %s: %w", c.node, err)
	}
	r, err := archive()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	exit, err := c.p.m.Run(ctx, machine.Command{
		Argv:  []string{programs + "/ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", "--all-platforms", "-"},
		Stdin: r,
	})
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("ctr images import ended with %d: %s", exit.Code, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return fmt.Errorf("load images into node %s: %w", c.node, explain(err))
	}
	return nil
}

// noteImages notes the archive's images that the node doesn't have.
func (c *Cluster) noteImages(ctx context.Context, archive func() (io.ReadCloser, error)) error {
	manifest, err := tarball.LoadManifest(archive)
	if err != nil {
		return fmt.Errorf("its manifest: %w", err)
	}
	// Images are loaded after Up let go of the lock, and several at a time.
	unlock, err := filelock.Lock(ctx, c.p.m.Path(lockPath))
	if err != nil {
		return err
	}
	defer c.p.free(unlock)()
	l, err := ledger.Open(c.p.m)
	if err != nil {
		return err
	}
	noted := map[string]bool{}
	for _, e := range l.Entries(ledger.Images) {
		for _, ref := range e.Names {
			noted[ref] = true
		}
	}
	var refs []string
	for _, image := range manifest {
		for _, ref := range image.RepoTags {
			there, err := c.HasImage(ctx, ref)
			if err != nil {
				return err
			}
			if !there && !noted[ref] {
				refs = append(refs, ref)
			}
		}
	}
	if len(refs) == 0 {
		return nil
	}
	return l.Record(ledger.Entry{Kind: ledger.Images, Names: refs})
}

// HasImage implements provision.Cluster.
func (c *Cluster) HasImage(ctx context.Context, ref string) (bool, error) {
	out, err := c.p.ctr(ctx, "images", "ls", "-q", "name=="+ref)
	if err != nil {
		return false, fmt.Errorf("images of node %s: %w", c.node, err)
	}
	return strings.TrimSpace(out) != "", nil
}

// ContainerdConfig implements provision.Cluster.
func (c *Cluster) ContainerdConfig(ctx context.Context, node string) ([]byte, error) {
	if err := c.only(node); err != nil {
		return nil, err
	}
	// Not the containerd that the machine may have beside K3s's.
	out, err := c.p.m.Output(ctx, programs+"/containerd", "--config", rendered, "config", "dump")
	return []byte(out), err
}

// logTime is when containerd wrote a line (logrus's TextFormatter).
var logTime = regexp.MustCompile(`^time="([^"]+)"`)

// ContainerdLog implements provision.Cluster.
func (c *Cluster) ContainerdLog(_ context.Context, node string) (string, error) {
	if err := c.only(node); err != nil {
		return "", err
	}
	const most, recent = 256 << 10, 5 * time.Minute
	if _, err := os.Stat(c.p.m.Path(containerdLog)); err != nil {
		return "", err
	}
	var b strings.Builder
	now := true // a line without a time belongs to the one before
	for line := range strings.Lines(string(c.p.logSince(max(0, c.p.logSize()-most)))) {
		if m := logTime.FindStringSubmatch(line); m != nil {
			at, err := time.Parse(time.RFC3339Nano, m[1])
			now = err != nil || time.Since(at) < recent
		}
		if now {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

// only refuses a node that is another machine.
func (c *Cluster) only(node string) error {
	if node == c.node {
		return nil
	}
	_, err := c.Node(node).Run(context.Background(), nil)
	return err
}
