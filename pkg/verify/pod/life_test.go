package pod

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// snapshot makes what the API shows of a Pod.
func snapshot(phase corev1.PodPhase, state corev1.ContainerState, conditions ...corev1.PodCondition) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "labprobe-x", Namespace: "lab", UID: "uid", ResourceVersion: "1"},
		Spec:       corev1.PodSpec{NodeName: "one"},
		Status:     corev1.PodStatus{Phase: phase, Conditions: conditions},
	}
	if state != (corev1.ContainerState{}) {
		id := "containerd://abc"
		if state.Waiting != nil {
			id = ""
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{
			{Name: "sidecar", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			{Name: mainContainer, State: state, ContainerID: id},
		}
	}
	return p
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func terminated(reason string, code int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code}}
}

var (
	isRunning = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	isReady   = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}
)

func warning(reason, message string, count int32) corev1.Event {
	return corev1.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message, Count: count}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		name     string
		pod      *corev1.Pod
		warnings []corev1.Event
		ended    bool
		reason   string
		exit     int32 // -1: none
		damage   string
	}{
		{name: "asked for", pod: snapshot(corev1.PodPending, corev1.ContainerState{}), exit: -1},
		{name: "being made", pod: snapshot(corev1.PodPending, waiting("ContainerCreating", "")), reason: "ContainerCreating", exit: -1},
		{name: "running", pod: snapshot(corev1.PodRunning, isRunning), reason: "Running", exit: -1},
		{name: "completed", pod: snapshot(corev1.PodSucceeded, terminated("Completed", 0)), ended: true, reason: "Completed"},
		{name: "completed, sidecar not", pod: snapshot(corev1.PodRunning, terminated("Completed", 0)), reason: "Completed"},
		{name: "failed", pod: snapshot(corev1.PodFailed, terminated("Error", 3)), ended: true, reason: "Error", exit: 3},
		{name: "out of memory", pod: snapshot(corev1.PodFailed, terminated("OOMKilled", 137)), ended: true, reason: "OOMKilled", exit: 137},
		{name: "not startable", pod: snapshot(corev1.PodFailed, terminated("StartError", 128)), ended: true, reason: "StartError", exit: 128},
		{name: "start failed, kubelet looks again", pod: snapshot(corev1.PodPending, waiting("RunContainerError", "exec format error")), reason: "RunContainerError", exit: -1},
		{name: "refused by the runtime", pod: snapshot(corev1.PodPending, waiting("CreateContainerError", "no")), ended: true, reason: "CreateContainerError", exit: -1},
		{name: "no image", pod: snapshot(corev1.PodPending, waiting("ImagePullBackOff", "gone")), ended: true, reason: "ImagePullBackOff", exit: -1, damage: "labctl up"},
		{name: "evicted by kubelet", pod: func() *corev1.Pod {
			p := snapshot(corev1.PodFailed, corev1.ContainerState{})
			p.Status.Reason = "OutOfmemory"
			return p
		}(), ended: true, reason: "OutOfmemory", exit: -1},
		{name: "no sandbox once", pod: snapshot(corev1.PodPending, waiting("ContainerCreating", "")),
			warnings: []corev1.Event{warning("FailedCreatePodSandBox", "no network yet", 1)}, reason: "ContainerCreating", exit: -1},
		{name: "no sandbox again and again", pod: snapshot(corev1.PodPending, waiting("ContainerCreating", "")),
			warnings: []corev1.Event{warning("FailedCreatePodSandBox", "no runtime", 2), warning("FailedMount", "x", 9), warning("FailedCreatePodSandBox", "no runtime for x", 1)},
			ended:    true, reason: "FailedCreatePodSandBox", exit: -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := life{warnings: c.warnings}
			l.see(c.pod, time.Now())
			o := l.outcome()
			exit := int32(-1)
			if o.exit != nil {
				exit = *o.exit
			}
			if l.ended() != c.ended || o.reason != c.reason || exit != c.exit || o.phase != string(c.pod.Status.Phase) {
				t.Errorf("ended %v, %+v, exit %d", l.ended(), o, exit)
			}
			wantError(t, c.damage, l.damage())
		})
	}
}

// Ready is when it was first seen, whatever comes later.
func TestReady(t *testing.T) {
	start := time.Now()
	var l life
	for i, p := range []*corev1.Pod{
		snapshot(corev1.PodPending, waiting("ContainerCreating", "")),
		snapshot(corev1.PodRunning, isRunning),
		snapshot(corev1.PodRunning, isRunning, isReady),
		snapshot(corev1.PodRunning, isRunning, isReady),
		snapshot(corev1.PodSucceeded, terminated("Completed", 0)),
	} {
		l.see(p, start.Add(time.Duration(i)*time.Second))
	}
	if got := l.ready.Sub(start); got != 2*time.Second {
		t.Errorf("ready after %v", got)
	}
}

func TestDescribe(t *testing.T) {
	l := life{warnings: []corev1.Event{warning("FailedCreatePodSandBox", "no runtime for \"x\" is configured", 4)}}
	l.see(snapshot(corev1.PodFailed, terminated("Error", 2)), time.Now())
	got := l.describe([]byte("first\nsecond\n"))
	for _, want := range []string{"Pod lab/labprobe-x: phase Failed, Error, exit code 2", `event FailedCreatePodSandBox (4): no runtime for "x"`, "log: first\n  log: second"} {
		wantError(t, want, stringError(got))
	}
}

type stringError string

func (s stringError) Error() string { return string(s) }

func TestMeasure(t *testing.T) {
	at := func(d time.Duration) time.Time { return time.Unix(1700000000, 0).Add(d) }
	l := life{asked: at(0), ready: at(1500 * ms), deletion: at(3000 * ms), gone: at(4200 * ms)}
	whole := containerTimes{sandbox: at(300 * ms), created: at(600 * ms), started: at(700 * ms), finished: at(900 * ms)}
	for _, c := range []struct {
		name string
		life life
		node containerTimes
		skew time.Duration
		want times
	}{
		{"whole life", l, whole, 0, times{"pod.start": 700 * ms, "pod.runtime_start": 400 * ms, "pod.container_start": 100 * ms,
			"pod.ready": 1500 * ms, "pod.run": 200 * ms, "pod.finished": 900 * ms, "pod.deleted": 1200 * ms}},
		{"node's clock ahead", l, whole, 100 * ms, times{"pod.start": 600 * ms, "pod.runtime_start": 400 * ms, "pod.container_start": 100 * ms,
			"pod.ready": 1500 * ms, "pod.run": 200 * ms, "pod.finished": 800 * ms, "pod.deleted": 1200 * ms}},
		{"ended before the start was noted", life{asked: at(0)}, containerTimes{created: at(600 * ms), started: at(701 * ms), finished: at(700 * ms)}, 0,
			times{"pod.start": 701 * ms, "pod.container_start": 101 * ms, "pod.run": 0, "pod.finished": 700 * ms}},
		{"never started", life{asked: at(0)}, containerTimes{sandbox: at(300 * ms), created: at(600 * ms), finished: at(700 * ms)}, 0, times{"pod.finished": 700 * ms}},
		{"nothing on the node", life{asked: at(0), deletion: at(ms), gone: at(3 * ms)}, containerTimes{}, 0, times{"pod.deleted": 2 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := measure(&c.life, c.node, c.skew)
			if len(got) != len(c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			for name, d := range c.want {
				if got[name] != d {
					t.Errorf("%s is %v, want %v", name, got[name], d)
				}
			}
		})
	}
}

func TestClockSkew(t *testing.T) {
	base := time.Unix(1700000000, 0)
	for _, c := range []struct {
		name          string
		remote, after time.Duration
		want          time.Duration
	}{
		{"same clock", 120 * ms, 200 * ms, 0},
		{"ahead", 1100 * ms, 200 * ms, 1000 * ms},
		{"behind", -900 * ms, 200 * ms, -1000 * ms},
	} {
		if got := clockSkew(base, base.Add(c.remote), base.Add(c.after)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestTimeValues(t *testing.T) {
	runs := []times{
		{"pod.start": 300 * ms, "pod.run": 10 * ms},
		{"pod.start": 100 * ms, "pod.run": 10 * ms},
		{"pod.start": 200 * ms},
	}
	set := timeValues(false, runs)
	wantValues(t, set, map[string]any{"pod.start": 200 * ms, "pod.start.p50": 200 * ms, "pod.start.min": 100 * ms, "pod.start.max": 300 * ms})
	if _, ok := set.Get("pod.run.p50"); ok {
		t.Error("a median over some of the Pods only")
	}
	if _, ok := timeValues(false, runs[:1]).Get("pod.start.p50"); ok {
		t.Error("a median of one Pod")
	}
}
