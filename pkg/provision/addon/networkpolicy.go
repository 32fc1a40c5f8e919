package addon

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
)

const (
	cilium = "github.com/cilium/cilium"
	// policyNamespace is where the proof's Pods live while it runs.
	policyNamespace = "labctl-network-policy"
	policyPort      = "8080"
)

// networkPolicy enforces NetworkPolicy by Cilium's agent, chained behind the
// CNI plug-ins that a kind node has.
func networkPolicy() Addon {
	return Addon{
		Name: "network-policy",
		Doc:  "enforces NetworkPolicy: Cilium, chained behind the cluster's own CNI plug-ins",
		Images: []Image{{
			Name: "cilium-agent", Module: "cilium", Requires: cilium, Program: "cilium-agent", Beside: []string{"cilium-cni"},
			Version: cilium + "/pkg/version.ciliumVersion", Below: ciliumLayers,
		}},
		Upstream: []Upstream{{Module: "cilium", Requires: cilium, Files: ciliumKinds()}},
		// kindnet enforces NetworkPolicy by itself (since kind 0.24).
		Sign:      Object{"apps/v1", "DaemonSet", "kube-system", "kindnet"},
		Own:       k3sEnforces,
		Manifests: true,
		NodeUp:    func(ctx context.Context, n Node) error { return onNode(ctx, n, networkPolicyUp) },
		NodeDown:  func(ctx context.Context, n Node) error { return onNode(ctx, n, networkPolicyDown) },
		Ready:     enforces,
	}
}

// k3sEnforces says whether a K3s enforces NetworkPolicy, as it does unless its
// server was started otherwise (https://docs.k3s.io/networking/networking-services).
// Its servers write their arguments to their Nodes.
func k3sEnforces(ctx context.Context, client kubernetes.Interface) (bool, error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(nodes.Items, func(n corev1.Node) bool {
		args, k3s := n.Annotations["k3s.io/node-args"]
		return k3s && strings.Contains(args, `"server"`) && !strings.Contains(args, "--disable-network-policy")
	}), nil
}

// ciliumKinds are the definitions that an agent waits for before it works
// (pkg/k8s/synced/crd.go there), as files of the module.
func ciliumKinds() []string {
	const dir = "pkg/k8s/apis/cilium.io/client/crds/"
	var out []string
	for _, f := range []string{
		"v2/ciliumclusterwidenetworkpolicies", "v2/ciliumendpoints", "v2/ciliumidentities",
		"v2/ciliumnetworkpolicies", "v2/ciliumnodes",
		"v2alpha1/ciliumcidrgroups", "v2alpha1/ciliuml2announcementpolicies",
		"v2alpha1/ciliumloadbalancerippools", "v2alpha1/ciliumpodippools",
	} {
		out = append(out, dir+f+".yaml")
	}
	return out
}

var (
	// ciliumPackages are what the agent calls: it compiles its eBPF programs on
	// the node, for the node. base-files has the links of the merged /usr.
	ciliumPackages = []string{"base-files", "bpftool", "clang-19"}
	// ciliumOmits are what a compiler for eBPF without any headers but Cilium's
	// own doesn't need: other targets' headers, linkers, sanitizers.
	ciliumOmits = []string{
		"/usr/share/*", "/usr/include/*", "/usr/lib/gcc/*", "/usr/libexec/*", "/etc/*", "/var/*",
		"*.a", "*.h", "*.o", "/usr/bin/*-linux-gnu*", "/usr/bin/gprofng*", "*/gprofng/*", "*/gconv/*",
		"*/lib?san.so*", "*/libhwasan.so*", "*/libubsan.so*", "*/libgprofng.so*",
		"*/libclang-[0-9]*.so*", "*/LLVMPolly.so",
	}
)

// ciliumLayers are the compiler, and Cilium's sources for it.
func ciliumLayers(ctx context.Context, b gomodule.Builder) ([]v1.Layer, error) {
	tools, err := debianTar(ctx, b, "debian-clang", ciliumPackages, ciliumOmits)
	if err != nil {
		return nil, err
	}
	compiler, err := tarball.LayerFromFile(tools, tarball.WithCompressionLevel(ociimage.Stored))
	if err != nil {
		return nil, err
	}
	const sources = "bpf"
	dir, err := b.Files(ctx, "cilium", cilium, sources+"/...")
	if err != nil {
		return nil, err
	}
	entries := []ociimage.Entry{
		{Path: "/usr/bin/clang", Link: "clang-19"},
		{Path: "/var/run", Link: "/run"},
		// The node's own programs, by the agent's under their names.
		{Path: "/usr/sbin/iptables", Link: "/cilium-agent"},
		{Path: "/usr/sbin/ip6tables", Link: "/cilium-agent"},
		{Path: "/usr/sbin/ipset", Link: "/cilium-agent"},
	}
	err = fs.WalkDir(os.DirFS(dir), sources, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasSuffix(p, "tests"):
			return fs.SkipDir
		case d.Type().IsRegular():
			entries = append(entries, ociimage.Entry{
				Path: "/var/lib/cilium/" + p, Mode: 0o644, From: filepath.Join(dir, filepath.FromSlash(p)),
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("eBPF sources of Cilium: %w", err)
	}
	files, err := ociimage.Layer(ociimage.Stored, entries)
	return []v1.Layer{compiler, files}, err
}

// debianTar is a tar file of the packages' files, from the cache.
func debianTar(ctx context.Context, b gomodule.Builder, kind string, packages, omit []string) (string, error) {
	pins, err := images.ReadPins()
	if err != nil {
		return "", fmt.Errorf("images/pins.yaml: %w", err)
	}
	const file = "root.tar"
	key := artifact.Key{Name: kind, Inputs: slices.Concat([]string{pins.Debian.Suite}, packages, omit)}
	if b.Cache.Has(key) {
		return filepath.Join(b.Cache.Path(key), file), nil
	}
	step := b.Log.Start("Debian packages " + strings.Join(packages, ", "))
	dir, err := b.Cache.Ensure(ctx, key, func(ctx context.Context, dir string) error {
		apt, err := debian.Open(ctx, debian.Options{
			Dir: filepath.Join(b.Cache.Dir, "apt"), Suite: pins.Debian.Suite, Log: b.Log.Output(),
		})
		if err != nil {
			return err
		}
		return apt.ExtractWithout(ctx, filepath.Join(dir, file), omit, packages...)
	})
	step.End(err)
	return filepath.Join(dir, file), err
}

var (
	//go:embed scripts/networkpolicy-up.sh
	networkPolicyUp string
	//go:embed scripts/networkpolicy-down.sh
	networkPolicyDown string
)

// unable is the exit code of a script for a node that can't have the add-on
// (sysexits(3), EX_UNAVAILABLE); what it prints says why.
const unable = 69

func onNode(ctx context.Context, n Node, script string) error {
	exit, err := n.Run(ctx, strings.NewReader(script), "sh", "-eu")
	if err != nil {
		return err
	}
	said := strings.TrimSpace(string(exit.Stderr))
	switch exit.Code {
	case 0:
		return nil
	case unable:
		return evidence.Untestablef("%s", said)
	}
	return fmt.Errorf("exit code %d: %s", exit.Code, said)
}

// enforces shows that policies are enforced: a connection between two Pods
// opens, doesn't while a policy denies it, and opens again.
func enforces(ctx context.Context, cluster provision.Cluster) error {
	client, err := kubernetes.NewForConfig(cluster.RESTConfig())
	if err != nil {
		return fmt.Errorf("client of the cluster: %w", err)
	}
	p := policyProof{cluster, client}
	if err := p.known(ctx); err != nil {
		return err
	}
	server, err := p.pods(ctx)
	if err != nil {
		return err
	}
	policies := client.NetworkingV1().NetworkPolicies(policyNamespace)
	deny := &networkingv1.NetworkPolicy{
		ObjectMeta: policyObject("deny"),
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
	allow := func() error {
		err := policies.Delete(ctx, deny.Name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	// A question that was cut off may have left it.
	if err := allow(); err != nil {
		return err
	}
	if err := p.expect(ctx, "no policy", server, "open"); err != nil {
		return err
	}
	if _, err := policies.Create(ctx, deny, metav1.CreateOptions{}); err != nil {
		return err
	}
	blocked := p.expect(ctx, "a policy that denies everything", server, "timeout")
	if err := allow(); err != nil {
		return err
	}
	if blocked != nil {
		return blocked
	}
	if err := p.expect(ctx, "that policy gone", server, "open"); err != nil {
		return err
	}
	err = client.CoreV1().Namespaces().Delete(ctx, policyNamespace, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return err
}

func policyObject(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{
		ManagedByLabel: ManagedBy, Label: "network-policy", "pod": name,
	}}
}

// policyProof is the proof on one cluster.
type policyProof struct {
	cluster provision.Cluster
	client  kubernetes.Interface
}

// known is an error while there is a Pod that Cilium should know and doesn't:
// policies that name it by its labels would not mean it. A cluster that has
// an engine of its own has no such objects.
func (p policyProof) known(ctx context.Context) error {
	raw, err := p.client.CoreV1().RESTClient().Get().AbsPath("/apis/cilium.io/v2/ciliumendpoints").DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var endpoints struct {
		Items []metav1.PartialObjectMetadata
	}
	if err := json.Unmarshal(raw, &endpoints); err != nil {
		return fmt.Errorf("endpoints of Cilium: %w", err)
	}
	pods, err := p.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
	if err != nil {
		return err
	}
	return unknownPods(pods.Items, endpoints.Items)
}

// unknownPods is an error if a Pod with a network of its own has no endpoint.
func unknownPods(pods []corev1.Pod, endpoints []metav1.PartialObjectMetadata) error {
	have := map[string]bool{}
	for _, e := range endpoints {
		have[e.Namespace+"/"+e.Name] = true
	}
	var missing []string
	for _, pod := range pods {
		name := pod.Namespace + "/" + pod.Name
		if !pod.Spec.HostNetwork && pod.DeletionTimestamp == nil && !have[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not known to Cilium yet: %s", strings.Join(missing, ", "))
	}
	return nil
}

// pods makes the two Pods, on two nodes where there are two, and gives the
// server's address when both are ready.
func (p policyProof) pods(ctx context.Context) (server string, err error) {
	namespace := &corev1.Namespace{ObjectMeta: policyObject(policyNamespace)}
	if _, err := p.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	nodes := p.cluster.Nodes()
	places := map[string]string{"server": nodes[len(nodes)-1], "client": nodes[0]}
	for _, name := range sortedKeys(places) {
		pods := p.client.CoreV1().Pods(policyNamespace)
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			pod, err = pods.Create(ctx, p.pod(name, places[name]), metav1.CreateOptions{})
		}
		if err != nil {
			return "", err
		}
		for !podReady(pod) {
			if err := pause(ctx, poll); err != nil {
				return "", fmt.Errorf("the Pod %s/%s isn't ready (phase %s): %w", policyNamespace, name, pod.Status.Phase, err)
			}
			if pod, err = pods.Get(ctx, name, metav1.GetOptions{}); err != nil {
				return "", err
			}
		}
		if name == "server" {
			server = pod.Status.PodIP
		}
	}
	return server, nil
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func (p policyProof) pod(name, node string) *corev1.Pod {
	no, grace := false, int64(0)
	return &corev1.Pod{
		ObjectMeta: policyObject(name),
		Spec: corev1.PodSpec{
			NodeName: node, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &grace,
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: "labprobe", Image: p.cluster.ProbeImage("runc"), ImagePullPolicy: corev1.PullIfNotPresent,
				Args: []string{"serve", "--port", policyPort},
			}},
		},
	}
}

// expect is an error unless a connection to the server ends as it should,
// within the time that an engine may take to notice a policy.
func (p policyProof) expect(ctx context.Context, with, server, want string) error {
	got, err := p.connect(ctx, server, want)
	if err == nil && got != want {
		err = fmt.Errorf("with %s, a connection from Pod to Pod should end with %q, and it is %q", with, want, got)
	}
	return err
}

// noticed is how long one question waits for a policy to take effect; all of
// them together stay below askLimit.
const noticed = 4 * time.Second

// connect is what becomes of a connection from the client's Pod: the outcome
// of labprobe's connect, as soon as it is the wanted one.
func (p policyProof) connect(ctx context.Context, server, want string) (string, error) {
	argv := []string{"/labprobe", "connect", "--timeout", "1s", "--want", want, "--wait", noticed.String(), server, policyPort}
	out, err := execInPod(ctx, p.cluster.RESTConfig(), p.client, policyNamespace, "client", argv)
	if err != nil {
		return "", err
	}
	report, err := labprobe.Parse(out)
	if err != nil {
		return "", err
	}
	set, err := report.Result()
	if err != nil {
		return "", err
	}
	for _, value := range set {
		if value.Name == "outcome" {
			return fmt.Sprint(value.Value), nil
		}
	}
	return "", fmt.Errorf("labprobe connect says nothing of the outcome: %.200q", out)
}

// execInPod runs a command in a Pod's only container and gives its standard
// output: over WebSocket (KEP-4006), or SPDY where a proxy on the way doesn't
// take that.
func execInPod(ctx context.Context, config *rest.Config, client kubernetes.Interface, namespace, pod string, argv []string) ([]byte, error) {
	url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: argv, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, url)
	if err != nil {
		return nil, err
	}
	socket, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, url.String())
	if err != nil {
		return nil, err
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		return nil, fmt.Errorf("%s in Pod %s/%s: %w: %.500s", strings.Join(argv, " "), namespace, pod, err, stderr.String())
	}
	return stdout.Bytes(), nil
}
