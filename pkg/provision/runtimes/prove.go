package runtimes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
)

const (
	// proofLimit is how long one class may take. Pods start within seconds;
	// the rest is for a cluster that is still settling.
	proofLimit = 2 * time.Minute
	pollEvery  = 250 * time.Millisecond
	// proofHold is how long a Pod stays to be looked at; it is deleted before.
	proofHold = "5m"
	// proofNamespace exists in every cluster; the Pods have generated names.
	proofNamespace = metav1.NamespaceDefault
	proofLabel     = "labctl.dev/proof"
	proofContainer = "labprobe"
)

// Prove returns when each class (runtime to class name) is shown to be what
// it says: containerd on every node has the handler, and a Pod of the class has
// given evidence of what it runs on, from inside and from the node. Where a
// node is out of reach (its Place is an *evidence.Untestable), the evidence
// from inside decides alone, and the log says so. An error holds what the
// cluster and containerd said.
func Prove(ctx context.Context, cluster provision.Cluster, classes map[string]string, log progress.Log) (err error) {
	step := log.Start("Proving the runtime classes")
	defer func() { step.End(err) }()
	client, err := kubernetes.NewForConfig(cluster.RESTConfig())
	if err != nil {
		return fmt.Errorf("client for the cluster: %w", err)
	}
	handlers, err := handlersOf(ctx, client, classes)
	if err != nil {
		return err
	}
	// A handler that isn't right doesn't hide what its Pods and containerd say.
	wrong := proveHandlers(ctx, cluster, handlers, log)
	if err := removeProofs(ctx, client); err != nil {
		return err
	}
	// Each class is proved to its end: one that fails doesn't hide another.
	results := make(chan error, len(classes))
	for runtime, class := range classes {
		go func() {
			p := proof{client: client, cluster: cluster, runtime: runtime, class: class}
			seen, err := p.run(ctx)
			if err != nil {
				results <- fmt.Errorf("RuntimeClass %s is not shown to be %s: %w", class, runtime, err)
				return
			}
			log.Info("%s: %s", class, seen)
			results <- nil
		}()
	}
	errs := make([]error, len(classes))
	for i := range errs {
		errs[i] = <-results
		step.Update(i+1, len(errs), "")
	}
	return errors.Join(append([]error{wrong}, errs...)...)
}

// handlersOf maps each runtime to the handler that its class names.
func handlersOf(ctx context.Context, client kubernetes.Interface, classes map[string]string) (map[string]string, error) {
	handlers := map[string]string{}
	for runtime, name := range classes {
		class, err := client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("RuntimeClass %s: %w", name, err)
		}
		handlers[runtime] = class.Handler
	}
	return handlers, nil
}

// proveHandlers reads containerd's effective configuration of every node;
// wanted maps a runtime to its handler.
func proveHandlers(ctx context.Context, cluster provision.Cluster, wanted map[string]string, log progress.Log) error {
	for _, name := range cluster.Nodes() {
		dump, err := cluster.ContainerdConfig(ctx, name)
		var untestable *evidence.Untestable
		if errors.As(err, &untestable) {
			log.Info("containerd's configuration is not read back: %s", untestable.Reason)
			continue
		}
		if err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		handlers, err := ReadBack(dump)
		if err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		if err := CheckHandlers(handlers, wanted); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return nil
}

// removeProofs deletes the Pods of a proof that was interrupted.
func removeProofs(ctx context.Context, client kubernetes.Interface) error {
	now := int64(0)
	err := client.CoreV1().Pods(proofNamespace).DeleteCollection(ctx,
		metav1.DeleteOptions{GracePeriodSeconds: &now},
		metav1.ListOptions{LabelSelector: proofLabel})
	if err != nil {
		return fmt.Errorf("delete the Pods of an earlier proof: %w", err)
	}
	return nil
}

// proof is that of one class.
type proof struct {
	client         kubernetes.Interface
	cluster        provision.Cluster
	runtime, class string
}

func (p proof) run(caller context.Context) (seen sighting, err error) {
	ctx, cancel := context.WithTimeoutCause(caller, proofLimit, fmt.Errorf("no proof within %v", proofLimit))
	defer cancel()
	pod, err := p.create(ctx)
	if err != nil {
		return sighting{}, err
	}
	name := pod.Name
	defer func() {
		// Also after Ctrl-C, but not for long; the next proof deletes the rest.
		after, cancel := context.WithTimeout(context.WithoutCancel(caller), 3*time.Second)
		defer cancel()
		if err != nil && !errors.Is(caller.Err(), context.Canceled) {
			err = fmt.Errorf("%w%s", err, diagnose(after, p.client, p.cluster, name))
		}
		_ = p.client.CoreV1().Pods(proofNamespace).Delete(after, name, metav1.DeleteOptions{})
	}()
	pod, report, err := p.report(ctx, name)
	if err != nil {
		return sighting{}, err
	}
	inside, err := report.Result()
	if err != nil {
		return sighting{}, err
	}
	seen, err = look(ctx, p.cluster.Node(pod.Spec.NodeName), containerID(pod))
	judge := sighting.judge
	var untestable *evidence.Untestable
	if errors.As(err, &untestable) {
		seen, err = askAbout(ctx, p.client, pod.Spec.NodeName, untestable)
		judge = sighting.judgeInside
	}
	if err != nil {
		return sighting{}, err
	}
	seen.inside = inside
	return seen, judge(seen, p.runtime)
}

// create retries while the namespace's service account isn't there yet, which
// is so in a cluster's first seconds.
func (p proof) create(ctx context.Context) (*corev1.Pod, error) {
	for {
		pod, err := p.client.CoreV1().Pods(proofNamespace).Create(ctx, p.object(), metav1.CreateOptions{FieldManager: fieldManager})
		if err == nil || !apierrors.IsForbidden(err) {
			return pod, err
		}
		if cause := wait(ctx); cause != nil {
			return nil, fmt.Errorf("%w; last: %w", cause, err)
		}
	}
}

func (p proof) object() *corev1.Pod {
	no, second := false, int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "labctl-proof-" + p.runtime + "-",
			Labels:       map[string]string{managedByLabel: managedBy, proofLabel: "true", provision.RuntimeLabel: p.runtime},
			Annotations:  map[string]string{"module.wasm.image/variant": "compat-smart"},
		},
		Spec: corev1.PodSpec{
			RuntimeClassName:              &p.class,
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &second,
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name:            proofContainer,
				Image:           p.cluster.ProbeImage(p.runtime),
				ImagePullPolicy: corev1.PullIfNotPresent,
				Args:            []string{labprobe.HoldFlag, proofHold, "identity"},
			}},
		},
	}
}

// report waits until the Pod has printed its report.
func (p proof) report(ctx context.Context, name string) (*corev1.Pod, labprobe.Report, error) {
	pods := p.client.CoreV1().Pods(proofNamespace)
	for {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, labprobe.Report{}, cause(ctx, err)
		}
		state := containerState(pod)
		if state.Running != nil || state.Terminated != nil {
			logs, err := pods.GetLogs(name, &corev1.PodLogOptions{Container: proofContainer}).DoRaw(ctx)
			if err != nil {
				return nil, labprobe.Report{}, cause(ctx, fmt.Errorf("logs: %w", err))
			}
			report, err := labprobe.Parse(logs)
			if err == nil || state.Terminated != nil {
				return pod, report, err
			}
		}
		if err := p.hopeless(ctx, pod); err != nil {
			return nil, labprobe.Report{}, err
		}
		if err := wait(ctx); err != nil {
			return nil, labprobe.Report{}, err
		}
	}
}

// hopeless says why waiting for the Pod's container to start is in vain.
func (p proof) hopeless(ctx context.Context, pod *corev1.Pod) error {
	if pod.Status.Phase == corev1.PodFailed && len(pod.Status.ContainerStatuses) == 0 {
		return fmt.Errorf("the kubelet doesn't take it: %s: %s", pod.Status.Reason, pod.Status.Message)
	}
	if w := containerState(pod).Waiting; w != nil {
		switch w.Reason {
		case "ImagePullBackOff", "InvalidImageName", "CreateContainerError", "CreateContainerConfigError", "RunContainerError":
			return fmt.Errorf("its container does not start: %s", w.Reason)
		}
	}
	events, err := podEvents(ctx, p.client, pod.Name)
	if err != nil {
		return nil // the events only shorten the wait
	}
	// The kubelet tries on and on; the first tries may lack a network yet.
	const tries = 4
	n := int32(0)
	for _, e := range events {
		if e.Reason == "FailedCreatePodSandBox" {
			n += max(e.Count, 1)
		}
	}
	if n >= tries {
		return fmt.Errorf("its sandbox is not made, after %d tries", n)
	}
	return nil
}

func containerState(pod *corev1.Pod) corev1.ContainerState {
	if len(pod.Status.ContainerStatuses) == 0 {
		return corev1.ContainerState{}
	}
	return pod.Status.ContainerStatuses[0].State
}

// wait returns nil after a while, or why the context ended.
func wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pollEvery):
		return nil
	}
}

// cause puts the reason why the context ended in the place of an error that
// only says that it did.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
