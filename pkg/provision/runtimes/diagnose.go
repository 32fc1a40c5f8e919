package runtimes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/provision"
)

// diagnose gathers what explains why a Pod of a proof isn't as it should be,
// as indented lines. Whatever can't be had is left out: the error that it
// explains is the one that counts.
func diagnose(ctx context.Context, client kubernetes.Interface, cluster provision.Cluster, name string) string {
	var b strings.Builder
	pod, err := client.CoreV1().Pods(proofNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	for _, line := range describe(pod) {
		fmt.Fprintf(&b, "\n  %s", line)
	}
	if events, err := podEvents(ctx, client, name); err == nil {
		for _, line := range tellEvents(events) {
			fmt.Fprintf(&b, "\n  event: %s", line)
		}
	}
	if pod.Spec.NodeName == "" {
		return b.String()
	}
	log, err := cluster.ContainerdLog(ctx, pod.Spec.NodeName)
	if err == nil {
		for _, line := range tellJournal(log, name) {
			fmt.Fprintf(&b, "\n  containerd on %s: %s", pod.Spec.NodeName, line)
		}
	}
	return b.String()
}

func podEvents(ctx context.Context, client kubernetes.Interface, name string) ([]corev1.Event, error) {
	list, err := client.CoreV1().Events(proofNamespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.kind": "Pod", "involvedObject.name": name}.String(),
	})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// describe is the Pod's phase and what its containers are at.
func describe(pod *corev1.Pod) []string {
	lines := []string{fmt.Sprintf("Pod %s/%s on node %q: %s %s", pod.Namespace, pod.Name, pod.Spec.NodeName, pod.Status.Phase, pod.Status.Message)}
	for _, c := range pod.Status.ContainerStatuses {
		switch s := c.State; {
		case s.Waiting != nil:
			lines = append(lines, fmt.Sprintf("container %s waits: %s %s", c.Name, s.Waiting.Reason, s.Waiting.Message))
		case s.Terminated != nil:
			lines = append(lines, fmt.Sprintf("container %s ended with %d: %s %s", c.Name, s.Terminated.ExitCode, s.Terminated.Reason, s.Terminated.Message))
		case s.Running != nil:
			lines = append(lines, fmt.Sprintf("container %s runs since %s", c.Name, s.Running.StartedAt.Format("15:04:05")))
		}
	}
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

// tellEvents gives the warnings, each message once.
func tellEvents(events []corev1.Event) []string {
	var lines []string
	for _, e := range events {
		line := e.Reason + ": " + shorten(e.Message)
		if e.Type == corev1.EventTypeWarning && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// journalLines is how many lines of containerd's journal an error carries.
const journalLines = 8

// tellJournal gives the last lines of containerd's journal that matter to a
// Pod: those that name it, without the chatter of level info, or, if none
// does, its last errors.
func tellJournal(journal, pod string) []string {
	var about, errors []string
	for line := range strings.Lines(journal) {
		line = strings.TrimSpace(line)
		bad := strings.Contains(line, "level=error") || strings.Contains(line, "level=fatal")
		switch {
		case strings.Contains(line, pod) && (bad || strings.Contains(line, "level=warning")):
			about = append(about, shorten(line))
		case bad:
			errors = append(errors, shorten(line))
		}
	}
	if len(about) == 0 {
		about = errors
	}
	return about[max(0, len(about)-journalLines):]
}

// shorten keeps a line that a runtime filled with a help text readable; the
// cause stands at its beginning or at its end.
func shorten(line string) string {
	const head, tail = 300, 300
	line = strings.Join(strings.Fields(line), " ")
	if len(line) <= head+tail {
		return line
	}
	return line[:head] + " … " + line[len(line)-tail:]
}
