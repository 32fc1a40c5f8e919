package pod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// life is what the API showed of one Pod's life. It is fed with snapshots of
// the Pod, in order, and the time each came at.
type life struct {
	pod *corev1.Pod // the last snapshot
	// asked and deletion are when the Pod and its deletion were asked for,
	// ready and gone when the API first showed it so.
	asked, ready, deletion, gone time.Time
	// warnings are the Pod's warning events.
	warnings []corev1.Event
}

// see takes a snapshot that came at a time.
func (l *life) see(pod *corev1.Pod, at time.Time) {
	l.pod = pod
	if l.ready.IsZero() && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}) {
		l.ready = at
	}
}

func mainState(pod *corev1.Pod) corev1.ContainerState {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == mainContainer {
			return s.State
		}
	}
	return corev1.ContainerState{}
}

// containerID is the main container's id in containerd, "" while it has none.
func (l *life) containerID() string {
	for _, s := range l.pod.Status.ContainerStatuses {
		if s.Name == mainContainer {
			_, id, _ := strings.Cut(s.ContainerID, "://")
			return id
		}
	}
	return ""
}

// Reasons for waiting that kubelet gives and that time doesn't mend.
var (
	// broken: the cluster isn't as labctl made it.
	broken = []string{"ImagePullBackOff", "InvalidImageName", "ImageInspectError"}
	// refused: the node or its runtime refuses the Pod.
	refused = []string{"CreateContainerConfigError", "CreateContainerError"}
)

// sandboxRefusals is how many failures to make the sandbox count as a refusal:
// kubelet tries on and on, and the first may be due to a network that isn't
// ready yet.
const sandboxRefusals = 3

// ended says that the Pod has ended or will never start. The main container's
// end alone is not it: the phase follows, after the sidecars'.
func (l *life) ended() bool {
	state := mainState(l.pod)
	switch {
	case l.pod.Status.Phase == corev1.PodFailed, l.pod.Status.Phase == corev1.PodSucceeded:
		return true
	case state.Waiting != nil && (slices.Contains(refused, state.Waiting.Reason) || slices.Contains(broken, state.Waiting.Reason)):
		return true
	}
	return l.sandboxRefused() != nil
}

func (l *life) sandboxRefused() *corev1.Event {
	for i, e := range slices.Backward(l.warnings) {
		if e.Reason == "FailedCreatePodSandBox" && occurrences(l.warnings, e.Reason) >= sandboxRefusals {
			return &l.warnings[i]
		}
	}
	return nil
}

func occurrences(events []corev1.Event, reason string) int {
	n := 0
	for _, e := range events {
		if e.Reason == reason {
			n += max(int(e.Count), 1)
		}
	}
	return n
}

// outcome is how the Pod fared, in the words of the API.
type outcome struct {
	phase, reason, message string
	// exit is the main container's exit code, nil if it hasn't ended.
	exit *int32
}

func (l *life) outcome() outcome {
	o := outcome{phase: string(l.pod.Status.Phase), reason: l.pod.Status.Reason, message: l.pod.Status.Message}
	state := mainState(l.pod)
	refusal := l.sandboxRefused()
	switch {
	case state.Terminated != nil:
		o.reason, o.message, o.exit = state.Terminated.Reason, state.Terminated.Message, &state.Terminated.ExitCode
	case o.reason != "":
	case refusal != nil:
		o.reason, o.message = refusal.Reason, refusal.Message
	case state.Waiting != nil:
		o.reason, o.message = state.Waiting.Reason, state.Waiting.Message
	case state.Running != nil:
		o.reason = "Running"
	}
	return o
}

// damage is an error where the Pod fared as it did because the cluster isn't
// as labctl made it; such a Pod shows nothing.
func (l *life) damage() error {
	if w := mainState(l.pod).Waiting; w != nil && slices.Contains(broken, w.Reason) {
		return fmt.Errorf("%s: %s; labctl up loads the images again", w.Reason, w.Message)
	}
	return nil
}

// describe says for an error how the Pod stands: statuses, events, and the
// end of its log.
func (l *life) describe(log []byte) string {
	var b strings.Builder
	o := l.outcome()
	fmt.Fprintf(&b, "Pod %s/%s: phase %s", l.pod.Namespace, l.pod.Name, or(o.phase, "unknown"))
	if o.reason != "" {
		fmt.Fprintf(&b, ", %s", o.reason)
	}
	if o.exit != nil {
		fmt.Fprintf(&b, ", exit code %d", *o.exit)
	}
	if o.message != "" {
		fmt.Fprintf(&b, ": %s", strings.TrimSpace(o.message))
	}
	for _, c := range l.pod.Status.Conditions {
		if c.Status == corev1.ConditionFalse && c.Message != "" && c.Type == corev1.PodScheduled {
			fmt.Fprintf(&b, "\n  %s: %s", c.Reason, c.Message)
		}
	}
	for _, e := range last(l.warnings, 5) {
		fmt.Fprintf(&b, "\n  event %s (%d): %s", e.Reason, max(e.Count, 1), strings.TrimSpace(e.Message))
	}
	if text := strings.TrimSpace(string(log)); text != "" {
		for _, line := range last(strings.Split(text, "\n"), 10) {
			fmt.Fprintf(&b, "\n  log: %.500s", line)
		}
	}
	return b.String()
}

func last[T any](s []T, n int) []T { return s[max(0, len(s)-n):] }

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
