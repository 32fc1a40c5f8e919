package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// These tests run the probe's state machine against client-go's fake
// clientset, which keeps objects and sends watch events but has no kubelet:
// a goroutine plays one. Pods on a real cluster are e2e/probes_test.go's.

// looked is a place that answers with a fixture.
type looked struct {
	out string
	err error
}

func (looked) Name() string     { return "node/one" }
func (looked) Labprobe() string { return "/labprobe" }
func (l looked) Run(context.Context, io.Reader, ...string) (probe.Exit, error) {
	return probe.Exit{Stdout: []byte(l.out)}, l.err
}

// play runs a probe while each Pod that it makes goes through the snapshots.
func play(ctx context.Context, t *testing.T, params string, snapshots ...*corev1.Pod) (evidence.Set, *fake.Clientset, error) {
	t.Helper()
	return playAt(ctx, t, node(), params, snapshots...)
}

// node is where the Pods of play are.
func node() looked {
	return looked{out: "@clock " + fmt.Sprint(time.Now().UnixNano()) + `
@container
{"ID":"abc","Runtime":{"Name":"io.containerd.runc.v2"},"CreatedAt":"2023-11-14T22:13:20.6Z"}
@sandbox
{"ID":"def","CreatedAt":"2023-11-14T22:13:20.3Z"}
@status
{"Version":"v1","CreatedAt":1700000000610000000,"StartedAt":1700000000700000000,"FinishedAt":1700000000900000000}
`}
}

func playAt(ctx context.Context, t *testing.T, place probe.Place, params string, snapshots ...*corev1.Pod) (evidence.Set, *fake.Clientset, error) {
	t.Helper()
	kube := fake.NewClientset()
	made := 0
	kube.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		pod := a.(clienttesting.CreateAction).GetObject().(*corev1.Pod)
		made++
		pod.Name = fmt.Sprint(pod.GenerateName, made)
		pod.UID = types.UID(fmt.Sprint("uid-", made))
		pod.ResourceVersion = "1"
		pods := corev1.SchemeGroupVersion.WithResource("pods")
		go func() {
			// The Pod is kept only after this reactor; a busy machine may take its time.
			for there := false; !there; time.Sleep(time.Millisecond) {
				_, err := kube.Tracker().Get(pods, pod.Namespace, pod.Name)
				there = err == nil || t.Context().Err() != nil
			}
			for i, s := range snapshots {
				time.Sleep(20 * time.Millisecond)
				s = s.DeepCopy()
				s.Name, s.Namespace, s.UID, s.ResourceVersion = pod.Name, pod.Namespace, pod.UID, fmt.Sprint(i+2)
				if err := kube.Tracker().Update(pods, s, s.Namespace); err != nil && !apierrors.IsNotFound(err) {
					t.Error(err)
				}
			}
		}()
		return false, nil, nil
	})
	kube.PrependWatchReactor("pods", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := sinceLast(kube.Tracker(), a.(clienttesting.WatchActionImpl))
		return true, w, err
	})
	p := mustNew(t, params)
	set, err := p.run(ctx, probe.Environment{Cluster: cluster{place}, Namespace: "lab"}, kube, "some-class")
	for _, v := range set {
		if v.Source.Where == "" {
			t.Errorf("%s doesn't say where", v.Name)
		}
	}
	return set, kube, err
}

// sinceLast watches one Pod as a server does that is asked for what came after
// a resource version: the fake's own watch would leave out what came between
// two calls.
func sinceLast(tracker clienttesting.ObjectTracker, a clienttesting.WatchActionImpl) (watch.Interface, error) {
	gvr, ns := corev1.SchemeGroupVersion.WithResource("pods"), a.GetNamespace()
	name, _ := a.WatchRestrictions.Fields.RequiresExactMatch(metav1.ObjectNameField)
	rest, err := tracker.Watch(gvr, ns)
	if err != nil {
		return nil, err
	}
	now := watch.Event{Type: watch.Modified}
	if now.Object, err = tracker.Get(gvr, ns, name); err != nil {
		// The uid is what a Pod is told by; play names both alike.
		_, n, _ := strings.Cut(name, "runc-")
		now = watch.Event{Type: watch.Deleted, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + n)}}}
	}
	events := make(chan watch.Event)
	w := watch.NewProxyWatcher(events)
	go func() {
		defer rest.Stop()
		for e, open := now, true; open; e, open = <-rest.ResultChan() {
			select {
			case events <- e:
			case <-w.StopChan():
				return
			}
		}
	}()
	return w, nil
}

func left(t *testing.T, kube *fake.Clientset) int {
	t.Helper()
	list, err := kube.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

var creating = snapshot(corev1.PodPending, waiting("ContainerCreating", ""))

func TestRun(t *testing.T) {
	fate := `{"runtime":"runc","labprobe":["hello"],"report":false,"timeout":"2s"}`
	for _, c := range []struct {
		name, params string
		snapshots    []*corev1.Pod
		want         map[string]any
		err          string
	}{
		{name: "killed", params: fate,
			snapshots: []*corev1.Pod{creating, snapshot(corev1.PodRunning, isRunning, isReady), snapshot(corev1.PodFailed, terminated("OOMKilled", 137))},
			want:      map[string]any{"pod.phase": "Failed", "pod.reason": "OOMKilled", "pod.exit_code": int64(137), "pod.class": "some-class", "pod.run": 200 * ms, "pod.runtime_start": 400 * ms}},
		{name: "completed", params: fate,
			snapshots: []*corev1.Pod{snapshot(corev1.PodSucceeded, terminated("Completed", 0))},
			want:      map[string]any{"pod.phase": "Succeeded", "pod.reason": "Completed", "pod.exit_code": int64(0)}},
		{name: "never made", params: fate,
			snapshots: []*corev1.Pod{creating, snapshot(corev1.PodPending, waiting("CreateContainerError", "not allowed"))},
			want:      map[string]any{"pod.phase": "Pending", "pod.reason": "CreateContainerError", "pod.message": "not allowed"}},
		{name: "repeated", params: `{"runtime":"runc","labprobe":["hello"],"report":false,"repeat":3,"warmup":1}`,
			snapshots: []*corev1.Pod{snapshot(corev1.PodSucceeded, terminated("Completed", 0))},
			want:      map[string]any{"pod.container_start.p50": 90 * ms, "pod.container_start.max": 90 * ms}},
		{name: "image gone", params: fate,
			snapshots: []*corev1.Pod{snapshot(corev1.PodPending, waiting("ErrImagePull", "connection refused")), snapshot(corev1.PodPending, waiting("ImagePullBackOff", "not present"))}, err: "labctl up"},
		{name: "stuck", params: fate, snapshots: []*corev1.Pod{creating}, err: "took longer than 2s\n  Pod lab/labprobe-runc-1: phase Pending, ContainerCreating"},
		{name: "no report", params: `{"runtime":"runc","labprobe":["hello"]}`,
			snapshots: []*corev1.Pod{snapshot(corev1.PodSucceeded, terminated("Completed", 0))}, err: "no labprobe report"},
		{name: "killed, report wanted", params: `{"runtime":"runc","labprobe":["hello"]}`,
			snapshots: []*corev1.Pod{snapshot(corev1.PodFailed, terminated("OOMKilled", 137))}, err: "didn't end by itself\n  Pod lab/labprobe-runc-1: phase Failed, OOMKilled, exit code 137"},
		{name: "not started, report wanted", params: `{"runtime":"runc","labprobe":["hello"]}`,
			snapshots: []*corev1.Pod{snapshot(corev1.PodPending, waiting("CreateContainerError", "not allowed"))}, err: "the Pod didn't start\n  Pod lab/labprobe-runc-1: phase Pending, CreateContainerError: not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, kube, err := play(context.Background(), t, c.params, c.snapshots...)
			wantError(t, c.err, err)
			wantValues(t, set, c.want)
			if n := left(t, kube); n > 0 {
				t.Errorf("%d Pods left", n)
			}
		})
	}
}

// Ctrl-C deletes the Pod and says that it was Ctrl-C.
func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, kube, err := play(ctx, t, `{"runtime":"runc","labprobe":["hello"]}`, creating)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if n := left(t, kube); n > 0 {
		t.Errorf("%d Pods left", n)
	}
}

// A node that is out of reach leaves what the Pod itself and the API show.
func TestRunOutOfReach(t *testing.T) {
	params := `{"runtime":"runc","labprobe":["hello"],"report":false}`
	ended := snapshot(corev1.PodSucceeded, terminated("Completed", 0))
	set, kube, err := playAt(context.Background(), t, looked{err: evidence.Untestablef("node one is another machine")}, params, ended)
	var untestable *evidence.Untestable
	if !errors.As(err, &untestable) || untestable.Reason != "node one is another machine" {
		t.Errorf("%v", err)
	}
	wantValues(t, set, map[string]any{"pod.phase": "Succeeded", "pod.reason": "Completed"})
	for _, name := range []string{"pod.start", "pod.run"} {
		if v, ok := set.Get(name); ok {
			t.Errorf("%s is %v; nobody saw it", name, v.Value)
		}
	}
	if n := left(t, kube); n > 0 {
		t.Errorf("%d Pods left", n)
	}
	_, _, err = playAt(context.Background(), t, looked{err: errors.New("broken pipe")}, params, ended)
	wantError(t, "broken pipe", err)
}

func TestRunRefused(t *testing.T) {
	kube := fake.NewClientset()
	kube.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("pods"), "labprobe-runc-1", errors.New(`RuntimeClass "some-class" not found`))
	})
	_, err := mustNew(t, `{"runtime":"runc","labprobe":["hello"],"report":false}`).run(context.Background(), probe.Environment{Cluster: cluster{}, Namespace: "lab"}, kube, "some-class")
	wantError(t, "under runc (RuntimeClass some-class): create a Pod in namespace lab: ", err)
	if !strings.Contains(fmt.Sprint(err), "not found") {
		t.Error(err)
	}
}
