package pod

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// The two images of labprobe.
const (
	Native = "native"
	Wasm   = "wasm"
)

// The runtimes that a lab cluster may have.
const (
	Runc     = "runc"
	GVisor   = "gvisor"
	WasmEdge = "wasmedge"
)

var runtimes = []string{Runc, GVisor, WasmEdge}

// Params are the parameters.
type Params struct {
	// Runtime is runc, gvisor or wasmedge: the Pod gets the cluster's
	// RuntimeClass of that runtime and the image of labprobe that it runs.
	Runtime string `json:"runtime"`
	// Labprobe is the command and its arguments; its outputs are the
	// probe's, besides those of the Pod's life.
	Labprobe []string `json:"labprobe"`
	// Report says whether the probe is about labprobe's report (true, the
	// default) or about how the Pod fares alone (false): then a Pod that
	// fails, or never starts, is evidence and no error.
	Report *bool `json:"report,omitempty"`
	// Observe has the Pod stay after its report and looks at it from the
	// node: outputs node.*. The Pod is then deleted, so it has no exit code.
	Observe bool `json:"observe,omitempty"`
	// Beside is a labprobe command line that runs on the Pod's node after
	// the report, while the Pod stays (wants Observe); {pid} in it is the
	// main container's process there. Its outputs are beside.*.
	Beside []string `json:"beside,omitempty"`

	// Class overrides the RuntimeClass's name, Image the image (native or
	// wasm): to run one runtime's Pod under another.
	Class string `json:"class,omitempty"`
	Image string `json:"image,omitempty"`

	// The fields of the Pod and its container that may be set, as in the
	// Kubernetes API.
	Resources             corev1.ResourceRequirements `json:"resources,omitempty"`
	SecurityContext       *corev1.SecurityContext     `json:"securityContext,omitempty"`
	PodSecurityContext    *corev1.PodSecurityContext  `json:"podSecurityContext,omitempty"`
	HostPID               bool                        `json:"hostPID,omitempty"`
	HostIPC               bool                        `json:"hostIPC,omitempty"`
	HostNetwork           bool                        `json:"hostNetwork,omitempty"`
	HostUsers             *bool                       `json:"hostUsers,omitempty"`
	ShareProcessNamespace *bool                       `json:"shareProcessNamespace,omitempty"`
	Env                   []corev1.EnvVar             `json:"env,omitempty"`
	Volumes               []corev1.Volume             `json:"volumes,omitempty"`
	VolumeMounts          []corev1.VolumeMount        `json:"volumeMounts,omitempty"`
	Labels                map[string]string           `json:"labels,omitempty"`
	Annotations           map[string]string           `json:"annotations,omitempty"`
	NodeName              string                      `json:"nodeName,omitempty"`
	// Sidecar is a labprobe command line that a second container runs
	// beside the first, with the native image, started before it.
	Sidecar []string `json:"sidecar,omitempty"`

	// Repeat runs so many Pods one after another, 1 if absent; their times
	// are then given as .p50, .min and .max too. Everything else is of the
	// last one. Warmup runs so many before, which don't count.
	Repeat int `json:"repeat,omitempty"`
	Warmup int `json:"warmup,omitempty"`
	// Timeout is the longest that one Pod may take until it has ended, 90s
	// if absent.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Exclusive says that nothing else may be measured meanwhile; so it is
	// too where Repeat is more than 1.
	Exclusive bool `json:"exclusive,omitempty"`
}

const (
	defaultTimeout = 90 * time.Second
	maxRuns        = 200
)

// New decodes parameters into a probe.
func New(params []byte) (*Probe, error) {
	var p Params
	if err := probe.Decode(params, &p); err != nil {
		return nil, err
	}
	if !slices.Contains(runtimes, p.Runtime) {
		return nil, fmt.Errorf("runtime: %q is unknown; known: %s", p.Runtime, strings.Join(runtimes, ", "))
	}
	command, outputs, err := lookup(p.Labprobe)
	if err != nil {
		return nil, fmt.Errorf("labprobe: %w", err)
	}
	if p.Sidecar != nil {
		if _, _, err := lookup(p.Sidecar); err != nil {
			return nil, fmt.Errorf("sidecar: %w", err)
		}
	}
	report := p.Report == nil || *p.Report
	switch {
	case p.Image != "" && p.Image != Native && p.Image != Wasm:
		return nil, fmt.Errorf("image: %q is neither %s nor %s", p.Image, Native, Wasm)
	case p.Observe && !report:
		return nil, errors.New("observe: the Pod is looked at after its report, so it can't go with report: false")
	case p.Repeat < 0 || p.Repeat > maxRuns:
		return nil, fmt.Errorf("repeat: %d is not in 1…%d", p.Repeat, maxRuns)
	case p.Warmup < 0 || p.Warmup > maxRuns:
		return nil, fmt.Errorf("warmup: %d is not in 0…%d", p.Warmup, maxRuns)
	case p.Timeout != nil && p.Timeout.Duration < time.Second:
		return nil, fmt.Errorf("timeout: %s is less than 1s", p.Timeout.Duration)
	}
	for key := range p.Labels {
		if key == managedBy || key == partOf {
			return nil, fmt.Errorf("labels: %s is set by labctl", key)
		}
	}
	probe := &Probe{
		params: p, report: report, timeout: defaultTimeout, repeat: max(p.Repeat, 1),
		exclusive: p.Exclusive || p.Repeat > 1 || command.Exclusive,
	}
	if p.Timeout != nil {
		probe.timeout = p.Timeout.Duration
	}
	if p.Image == "" {
		probe.params.Image = imageOf(p.Runtime)
	}
	if report {
		probe.outputs = slices.Clone(outputs)
	}
	probe.outputs = append(probe.outputs, lifeOutputs(report, p.Observe, probe.repeat > 1)...)
	if p.Observe {
		probe.outputs = append(probe.outputs, sideOutputs...)
	}
	if p.Beside != nil {
		if err := probe.addBesideCommand(p.Beside); err != nil {
			return nil, fmt.Errorf("beside: %w", err)
		}
	}
	return probe, nil
}

// imageOf is the image of labprobe that a runtime runs.
func imageOf(runtime string) string {
	if runtime == WasmEdge {
		return Wasm
	}
	return Native
}

// lookup finds a labprobe command line's command and outputs.
func lookup(args []string) (labprobe.Command, []evidence.Output, error) {
	if len(args) == 0 {
		return labprobe.Command{}, nil, errors.New("is empty; it names a command and its arguments")
	}
	c, err := labprobe.Lookup(args[0])
	if err != nil {
		return labprobe.Command{}, nil, err
	}
	outputs, err := c.Outputs(args[1:])
	if err != nil {
		return labprobe.Command{}, nil, fmt.Errorf("%s: %w", args[0], err)
	}
	return c, outputs, nil
}
