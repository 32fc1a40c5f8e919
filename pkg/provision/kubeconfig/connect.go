package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// answerWithin is how long the API server may take to answer the first
// question.
const answerWithin = 15 * time.Second

// connect finds the cluster of the context and its Linux nodes.
func (p *Provider) connect(ctx context.Context, name string, old record) (*Cluster, error) {
	c, err := p.resolve(name, old)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	system, err := c.client.CoreV1().Namespaces().Get(limited, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("context %s: the API server %s: %w", c.context, c.rest.Host, err)
	}
	c.uid = string(system.UID)
	if old.Cluster != "" && old.Cluster != c.uid {
		return nil, fmt.Errorf("context %s leads to another cluster than when labctl used it (kube-system has the UID %s, and had %s); remove %s to forget the old one, or use another --name",
			c.context, c.uid, old.Cluster, p.recordPath(name))
	}
	list, err := c.client.CoreV1().Nodes().List(limited, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("context %s: nodes: %w", c.context, err)
	}
	here := p.identity()
	for _, n := range list.Items {
		if n.Status.NodeInfo.OperatingSystem == "windows" {
			continue // nothing of labctl's runs there
		}
		c.nodes = append(c.nodes, p.node(n, here))
	}
	if len(c.nodes) == 0 {
		return nil, fmt.Errorf("context %s: the cluster has no Linux node", c.context)
	}
	slices.SortFunc(c.nodes, func(a, b node) int { return strings.Compare(a.name, b.name) })
	c.places = map[string]probe.Place{}
	for _, n := range c.nodes {
		var at probe.Place = elsewhere{node: n.name, why: n.away}
		if n.away == "" {
			at = n.at
			if p.o.Equip != nil {
				at = p.o.Equip(at)
			}
		}
		c.places[n.name] = at
	}
	return c, nil
}

// resolve reads the kubeconfig, as kubectl does.
func (p *Provider) resolve(name string, old record) (*Cluster, error) {
	path, want := p.o.Path, p.o.Context
	if path == "" {
		path = old.Path
	}
	if want == "" {
		want = old.Context
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if path != "" {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		path, rules.ExplicitPath = absolute, absolute
	}
	raw, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if want == "" {
		want = raw.CurrentContext
	}
	if raw.Contexts[want] == nil {
		what := fmt.Sprintf("kubeconfig %s has no context %q", or(path, strings.Join(rules.GetLoadingPrecedence(), ", ")), want)
		if want == "" {
			what = fmt.Sprintf("kubeconfig %s has no current context", or(path, strings.Join(rules.GetLoadingPrecedence(), ", ")))
		}
		if len(raw.Contexts) == 0 {
			return nil, errors.New(what + ", and none at all; name the file with --kubeconfig")
		}
		return nil, fmt.Errorf("%s; --context can be %s", what, strings.Join(slices.Sorted(maps.Keys(raw.Contexts)), ", "))
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*raw, want, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig, context %s: %w", want, err)
	}
	// Probes of many claims ask at once; client-go's default of 5 a second is
	// for controllers.
	config.QPS, config.Burst = 50, 100
	client, err := p.dial(config)
	if err != nil {
		return nil, fmt.Errorf("client of context %s: %w", want, err)
	}
	return &Cluster{
		name: name, path: path, context: want, rest: config, client: client,
		images: p.o.ProbeImages, registry: p.registry(old),
	}, nil
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// node is a Linux node of the cluster.
type node struct {
	name         string
	architecture string // a GOARCH
	// away is why the node can't be looked into from here; "" if it can.
	away string
	// kubelet's word on its container runtime: containerd://2.4.2.
	runtime string
	at      place
}

// identity is what tells this machine from others (machine-id(5),
// random(4)); empty where there is none.
type identity struct{ machine, boot string }

func (p *Provider) identity() identity {
	read := func(path string) string {
		b, _ := p.o.Machine.ReadFile(path) // not there on other systems than Linux
		return strings.TrimSpace(string(b))
	}
	return identity{machine: read("/etc/machine-id"), boot: read("/proc/sys/kernel/random/boot_id")}
}

// away says why a node isn't this machine; "" if it is. Both have to fit:
// nodes that are containers share the kernel's boot id, clones of a disk the
// machine's id.
func (i identity) away(info corev1.NodeSystemInfo) string {
	switch {
	case i.machine == "" || i.boot == "":
		return "labctl runs on no Linux machine with a machine id"
	case i.machine != info.MachineID:
		return "its machine id is another one"
	case i.boot != info.BootID:
		return "its boot id is another one"
	}
	return ""
}

func (p *Provider) node(n corev1.Node, here identity) node {
	info := n.Status.NodeInfo
	out := node{name: n.Name, architecture: info.Architecture, away: here.away(info), runtime: info.ContainerRuntimeVersion}
	if out.away != "" {
		return out
	}
	daemon, err := findContainerd(p.o.Machine)
	if err != nil {
		out.away = err.Error()
		return out
	}
	out.at = place{machine: p.o.Machine, node: n.Name, containerd: daemon}
	return out
}
