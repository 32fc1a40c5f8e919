package pod

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// PairKind is the family of two Pods that talk over the Pod network.
var PairKind = probe.Kind{
	Name:       "podpair",
	Namespaced: true,
	Doc:        "a TCP server in one Pod and its client in another: latency, throughput, and the server's sockets as the node's kernel has them",
	New:        func(params []byte) (probe.Probe, error) { return NewPair(params) },
}

// PairParams are the parameters.
type PairParams struct {
	// Server and Client are the runtimes of the two Pods; the client's is
	// runc if absent.
	Server string `json:"server"`
	Client string `json:"client,omitempty"`
	// ServerClass and ClientClass override the RuntimeClasses' names.
	ServerClass string `json:"serverClass,omitempty"`
	ClientClass string `json:"clientClass,omitempty"`
	// N requests a round, Rounds, and Bytes sent for throughput, as labprobe
	// tcp-dial has them; its defaults if absent.
	N      int   `json:"n,omitempty"`
	Rounds int   `json:"rounds,omitempty"`
	Bytes  int64 `json:"bytes,omitempty"`
	// Timeout is the longest that it may take, 3m if absent.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

const (
	pairPort       = 9000
	pairTimeout    = 3 * time.Minute
	pairServerLife = "10m"
)

// NewPair decodes parameters into a probe.
func NewPair(params []byte) (*Pair, error) {
	var p PairParams
	if err := probe.Decode(params, &p); err != nil {
		return nil, err
	}
	if p.Client == "" {
		p.Client = Runc
	}
	for field, runtime := range map[string]string{"server": p.Server, "client": p.Client} {
		if !slices.Contains(runtimes, runtime) {
			return nil, fmt.Errorf("%s: %q is unknown; known: %s", field, runtime, strings.Join(runtimes, ", "))
		}
	}
	if p.N < 0 || p.Rounds < 0 || p.Bytes < 0 {
		return nil, errors.New("n, rounds, bytes: can't be negative")
	}
	if p.Timeout != nil && p.Timeout.Duration < time.Second {
		return nil, fmt.Errorf("timeout: %s is less than 1s", p.Timeout.Duration)
	}
	pair := &Pair{params: p, timeout: pairTimeout}
	if p.Timeout != nil {
		pair.timeout = p.Timeout.Duration
	}
	_, dial, err := lookup(pair.dial("192.0.2.1"))
	if err != nil {
		return nil, err
	}
	_, sockets, err := lookup(countSockets(1))
	if err != nil {
		return nil, err
	}
	pair.outputs = slices.Concat(dial, sockets)
	return pair, nil
}

// Pair is a probe of the family.
type Pair struct {
	params  PairParams
	timeout time.Duration
	outputs []evidence.Output
}

var _ probe.Exclusive = (*Pair)(nil)

// Outputs implements probe.Probe.
func (p *Pair) Outputs() []evidence.Output { return p.outputs }

// Exclusive implements probe.Exclusive: it measures time.
func (p *Pair) Exclusive() bool { return true }

// dial is the client's labprobe command line.
func (p *Pair) dial(ip string) []string {
	args := []string{"tcp-dial"}
	for _, f := range []struct {
		flag  string
		value int64
	}{{"--n", int64(p.params.N)}, {"--rounds", int64(p.params.Rounds)}, {"--bytes", p.params.Bytes}} {
		if f.value > 0 {
			args = append(args, f.flag, strconv.FormatInt(f.value, 10))
		}
	}
	return append(args, net.JoinHostPort(ip, strconv.Itoa(pairPort)))
}

// countSockets is the labprobe command line that counts the server's sockets
// in the network namespace of a process of the node.
func countSockets(pid int) []string {
	return []string{"sockets", "--port", strconv.Itoa(pairPort), "--pid", strconv.Itoa(pid)}
}

// half is one of the two Pods as a probe of the family pod.
func (p *Pair) half(runtime, class string, command []string) *Probe {
	return &Probe{
		params: Params{Runtime: runtime, Class: class, Image: imageOf(runtime), Labprobe: command},
		report: true, timeout: p.timeout,
	}
}

// Run implements probe.Probe.
func (p *Pair) Run(ctx context.Context, env probe.Environment) (evidence.Set, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("took longer than %s", p.timeout))
	defer cancel()
	listen := ":" + strconv.Itoa(pairPort)
	server := p.half(p.params.Server, p.params.ServerClass, []string{"tcp-serve", "--for", pairServerLife, listen})
	serverClass, err := server.class(env)
	if err != nil {
		return nil, err
	}
	client := p.half(p.params.Client, p.params.ClientClass, nil)
	clientClass, err := client.class(env)
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(env.Cluster.RESTConfig())
	if err != nil {
		return nil, fmt.Errorf("client for the cluster: %w", err)
	}
	pod, err := ask(ctx, kube, server.object(env.Cluster, env.Namespace, serverClass))
	if err != nil {
		return nil, err
	}
	defer pod.discard(ctx)
	inServer := func(err error) error {
		return fmt.Errorf("server under %s (RuntimeClass %s): %w", p.params.Server, serverClass, pod.explain(ctx, err))
	}
	if err := server.await(ctx, pod); err != nil {
		return nil, inServer(err)
	}
	client.params.Labprobe = p.dial(pod.life.pod.Status.PodIP)
	got, err := client.once(ctx, env, kube, clientClass)
	if err != nil {
		return nil, inServer(fmt.Errorf("client under %s (RuntimeClass %s): %w", p.params.Client, clientClass, err))
	}
	// Only now is it certain that the server listens, whoever's stack it is.
	sockets, unseen := socketsOf(ctx, env.Cluster, pod)
	var untestable *evidence.Untestable
	if unseen != nil && !errors.As(unseen, &untestable) {
		return nil, inServer(unseen)
	}
	if err := pod.remove(ctx); err != nil {
		return nil, err
	}
	return slices.Concat(got.report.At("pod/"+got.name), sockets), unseen
}

// await returns when the Pod is ready, and why where it never will be.
func (p *Probe) await(ctx context.Context, pod *running) error {
	if err := pod.follow(ctx, func(l *life) bool { return l.ended() || !l.ready.IsZero() }); err != nil {
		return err
	}
	if err := pod.life.damage(); err != nil {
		return err
	}
	if !pod.life.ended() && pod.life.gone.IsZero() {
		return nil
	}
	// Its report may say that its place has no such thing.
	if pod.life.containerID() != "" && pod.life.gone.IsZero() {
		if _, err := p.readReport(ctx, pod); err != nil {
			return err
		}
	}
	return errors.New("it ended before it served")
}

// sameNetwork says whether process $2 is in the network namespace at path $1.
const sameNetwork = `[ "$(stat -Lc %i "$1")" = "$(stat -Lc %i "/proc/$2/ns/net")" ]`

// socketsOf counts the sockets with the server's port that the node's kernel
// has in the Pod's network namespace.
func socketsOf(ctx context.Context, cluster probe.Cluster, pod *running) (evidence.Set, error) {
	place := cluster.Node(pod.life.pod.Spec.NodeName)
	s, err := look(ctx, place, pod.life.containerID(), true)
	if err != nil {
		return nil, err
	}
	v, err := findServants(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place.Name(), err)
	}
	// In another namespace there would be no sockets, and nothing shown.
	exit, err := place.Run(ctx, nil, "sh", "-c", sameNetwork, "sh", s.network, strconv.Itoa(v.main.pid))
	switch {
	case err != nil:
		return nil, err
	case exit.Code != 0:
		return nil, fmt.Errorf("%s: process %d is not in the Pod's network namespace %s%s", place.Name(), v.main.pid, s.network, exit.Stderr)
	}
	return Labprobe(ctx, place, countSockets(v.main.pid)...)
}
