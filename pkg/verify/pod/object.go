package pod

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Labels of every Pod that probes make
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
const (
	managedBy = "app.kubernetes.io/managed-by"
	partOf    = "app.kubernetes.io/part-of"
)

// wasmVariant makes crun take containers whose entrypoint ends in .wasm for
// modules, and only those (crun(1), "WebAssembly").
const wasmVariant = "module.wasm.image/variant"

// mainContainer runs the command that is measured.
const mainContainer = "labprobe"

// hold is how long an observed Pod stays after its report, at most.
const hold = "10m"

// object is the Pod that is created.
func (p *Probe) object(cluster probe.Cluster, namespace, class string) *corev1.Pod {
	args := p.params.Labprobe
	if p.params.Observe {
		args = append([]string{labprobe.HoldFlag, hold}, args...)
	}
	no, second := false, int64(1)
	labels := map[string]string{managedBy: "labctl", partOf: "labprobe"}
	maps.Copy(labels, p.params.Labels)
	annotations := map[string]string{}
	image := cluster.ProbeImage(Runc)
	if p.params.Image == Wasm {
		image = cluster.ProbeImage(WasmEdge)
		annotations[wasmVariant] = "compat-smart"
	}
	maps.Copy(annotations, p.params.Annotations)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "labprobe-" + p.params.Runtime + "-",
			Namespace:    namespace,
			Labels:       labels,
			Annotations:  annotations,
		},
		Spec: corev1.PodSpec{
			RuntimeClassName:              &class,
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &second,
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			SecurityContext:               p.params.PodSecurityContext,
			HostPID:                       p.params.HostPID,
			HostIPC:                       p.params.HostIPC,
			HostNetwork:                   p.params.HostNetwork,
			HostUsers:                     p.params.HostUsers,
			ShareProcessNamespace:         p.params.ShareProcessNamespace,
			NodeName:                      p.params.NodeName,
			Volumes:                       p.params.Volumes,
			Containers: []corev1.Container{{
				Name:            mainContainer,
				Image:           image,
				ImagePullPolicy: corev1.PullIfNotPresent,
				Args:            args,
				Env:             p.params.Env,
				Resources:       p.params.Resources,
				SecurityContext: p.params.SecurityContext,
				VolumeMounts:    p.params.VolumeMounts,
			}},
		},
	}
	if p.params.Sidecar != nil {
		// A sidecar in the sense of KEP-753: it doesn't keep the Pod from
		// completing.
		always := corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers = []corev1.Container{{
			Name:            "sidecar",
			Image:           cluster.ProbeImage(Runc),
			ImagePullPolicy: corev1.PullIfNotPresent,
			Args:            p.params.Sidecar,
			RestartPolicy:   &always,
			VolumeMounts:    p.params.VolumeMounts,
		}}
	}
	return pod
}
