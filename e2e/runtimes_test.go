//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// podLimit is how long anything about one Pod may take, on a busy machine.
const podLimit = 2 * time.Minute

// TestRuntimes shows that Pods of every class behave as Kubernetes promises,
// or as the known limits of the class say.
func TestRuntimes(t *testing.T) {
	_, client := shared(t)
	cluster := sharedCluster(t)
	for _, runtime := range runtimes.Names {
		t.Run(runtime, func(t *testing.T) {
			r := &rig{cluster: cluster, client: client, runtime: runtime, namespace: newNamespace(t, client, "runtimes-"+runtime)}
			t.Run("Pods", func(t *testing.T) {
				for name, test := range map[string]func(*testing.T){
					"complete":                            r.completes,
					"fail with their exit code":           r.exitCode,
					"are deleted in time":                 r.deletion,
					"have exec":                           r.exec,
					"make a Job complete":                 r.job,
					"whose second container ends first":   r.twoContainers,
					"complete a Job beside their sidecar": r.sidecar,
				} {
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						test(t)
					})
				}
			})
			t.Run("twelve at once", r.twelve)
			t.Run("leaves no process", r.nothingLeft)
		})
	}
	t.Run("a class that is not what it says", func(t *testing.T) { falseClass(t, cluster, client) })
}

// sharedCluster is the shared cluster as labctl itself sees it.
func sharedCluster(t *testing.T) provision.Cluster {
	t.Helper()
	labs, err := lifecycle.New(lifecycle.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := labs.Get(t.Context(), sharedName)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// rig runs Pods of one runtime.
type rig struct {
	cluster            provision.Cluster
	client             kubernetes.Interface
	runtime, namespace string
}

func (r *rig) limit(feature string) (runtimes.Limit, bool) {
	for _, l := range runtimes.Limits(r.runtime) {
		if l.Feature == feature {
			return l, true
		}
	}
	return runtimes.Limit{}, false
}

func (r *rig) container(name string, args ...string) corev1.Container {
	return corev1.Container{
		Name: name, Image: r.cluster.ProbeImage(r.runtime), ImagePullPolicy: corev1.PullNever, Args: args,
	}
}

func (r *rig) template(containers ...corev1.Container) corev1.PodTemplateSpec {
	class, ok := r.cluster.RuntimeClass(r.runtime)
	if !ok {
		panic("the cluster has no class of " + r.runtime)
	}
	grace := int64(5)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "e2e-",
			Annotations:  map[string]string{"module.wasm.image/variant": "compat-smart"},
		},
		Spec: corev1.PodSpec{RuntimeClassName: &class, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace, Containers: containers},
	}
}

func (r *rig) create(t *testing.T, containers ...corev1.Container) *corev1.Pod {
	t.Helper()
	template := r.template(containers...)
	pod, err := r.client.CoreV1().Pods(r.namespace).Create(t.Context(), &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// until waits for a condition of a Pod.
func (r *rig) until(t *testing.T, name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, podLimit, true, func(ctx context.Context) (bool, error) {
		var err error
		pod, err = r.client.CoreV1().Pods(r.namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && ok(pod), err
	})
	if err != nil {
		t.Fatalf("Pod %s is not %s: %v; its status: %+v", name, what, err, pod.Status)
	}
	return pod
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func running(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning }

func terminated(pod *corev1.Pod, container string) *corev1.ContainerStateTerminated {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.Name == container {
			return c.State.Terminated
		}
	}
	return nil
}

func (r *rig) completes(t *testing.T) {
	pod := r.until(t, r.create(t, r.container("main", "hello", "from", r.runtime)).Name, "over", ended)
	end := terminated(pod, "main")
	if pod.Status.Phase != corev1.PodSucceeded || end.ExitCode != 0 || end.Reason != "Completed" {
		t.Errorf("phase %s, exit code %d, reason %q", pod.Status.Phase, end.ExitCode, end.Reason)
	}
	logs, err := r.client.CoreV1().Pods(r.namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report, err := labprobe.Parse(logs)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := report.Evidence.Get("hello"); v.Value != "from "+r.runtime {
		t.Errorf("the log says %v", v.Value)
	}
}

func (r *rig) exitCode(t *testing.T) {
	pod := r.until(t, r.create(t, r.container("main", "exit", "3")).Name, "over", ended)
	end := terminated(pod, "main")
	if limit, known := r.limit("exit-code"); known {
		if end.ExitCode != 0 {
			t.Errorf("exit code %d, so this is no limit any more: %s", end.ExitCode, limit.Reason)
		}
		return
	}
	if pod.Status.Phase != corev1.PodFailed || end.ExitCode != 3 || end.Reason != "Error" {
		t.Errorf("phase %s, exit code %d, reason %q", pod.Status.Phase, end.ExitCode, end.Reason)
	}
}

// deletion: the node notices that the container ended, whether by SIGTERM or,
// after the grace period, by SIGKILL.
func (r *rig) deletion(t *testing.T) {
	pod := r.until(t, r.create(t, r.container("main", "sleep", "1h")).Name, "running", running)
	if err := r.client.CoreV1().Pods(r.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.untilGone(t, pod.Name)
}

func (r *rig) untilGone(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, podLimit, true, func(ctx context.Context) (bool, error) {
			_, err := r.client.CoreV1().Pods(r.namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return true, nil
			}
			return false, err
		})
		if err != nil {
			t.Fatalf("Pod %s is not gone: %v", name, err)
		}
	}
}

func (r *rig) exec(t *testing.T) {
	pod := r.until(t, r.create(t, r.container("main", "sleep", "1h")).Name, "running", running)
	out, err := r.run(t, pod.Name, "/labprobe", "hello", "exec")
	if limit, known := r.limit("exec"); known {
		if err == nil {
			t.Errorf("exec works, so this is no limit any more: %s", limit.Reason)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if report, err := labprobe.Parse([]byte(out)); err != nil || report.Command != "hello" {
		t.Errorf("exec printed %q: %v", out, err)
	}
	var code utilexec.CodeExitError
	if _, err := r.run(t, pod.Name, "/labprobe", "exit", "3"); !errors.As(err, &code) || code.Code != 3 {
		t.Errorf("exec of a command that fails with 3: %v", err)
	}
}

func (r *rig) run(t *testing.T, pod string, command ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), podLimit)
	defer cancel()
	request := r.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(r.namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	exec, err := remotecommand.NewWebSocketExecutor(r.cluster.RESTConfig(), "GET", request.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	err = exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	return stdout.String() + stderr.String(), err
}

func (r *rig) job(t *testing.T) {
	completions := int32(3)
	r.runJob(t, batchv1.JobSpec{
		Completions: &completions, Parallelism: &completions,
		Template: r.template(r.container("main", "hello")),
	})
}

func (r *rig) runJob(t *testing.T, spec batchv1.JobSpec) {
	t.Helper()
	jobs := r.client.BatchV1().Jobs(r.namespace)
	job, err := jobs.Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, podLimit, true, func(ctx context.Context) (bool, error) {
		job, err = jobs.Get(ctx, job.Name, metav1.GetOptions{})
		return err == nil && job.Status.CompletionTime != nil, err
	})
	if err != nil {
		t.Errorf("the Job doesn't complete: %v; its status: %+v", err, job.Status)
	}
}

// twoContainers: the second ends first, and the node notices.
func (r *rig) twoContainers(t *testing.T) {
	pod := r.create(t, r.container("long", "sleep", "8s"), r.container("short", "hello"))
	seen := r.until(t, pod.Name, "half over", func(p *corev1.Pod) bool { return terminated(p, "short") != nil })
	if end := terminated(seen, "short"); end.ExitCode != 0 || end.Reason != "Completed" {
		t.Errorf("short: exit code %d, reason %q", end.ExitCode, end.Reason)
	}
	over := r.until(t, pod.Name, "over", ended)
	long, short := terminated(over, "long"), terminated(over, "short")
	if over.Status.Phase != corev1.PodSucceeded || long.FinishedAt.Before(&short.FinishedAt) {
		t.Errorf("phase %s, long ended at %v, short at %v", over.Status.Phase, long.FinishedAt, short.FinishedAt)
	}
}

// sidecar: KEP-753, a restartable init container doesn't keep a Job from
// completing. It is a native program under every class.
func (r *rig) sidecar(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	template := r.template(r.container("main", "hello"))
	template.Spec.InitContainers = []corev1.Container{{
		Name: "sidecar", Image: r.cluster.ProbeImage(runtimes.Runc), ImagePullPolicy: corev1.PullNever,
		Args: []string{"sleep", "1h"}, RestartPolicy: &always,
	}}
	r.runJob(t, batchv1.JobSpec{Template: template})
}

func (r *rig) twelve(t *testing.T) {
	var names []string
	for range 12 {
		names = append(names, r.create(t, r.container("main", "sleep", "1h")).Name)
	}
	for _, name := range names {
		r.until(t, name, "running", running)
	}
	for _, name := range names {
		if err := r.client.CoreV1().Pods(r.namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.untilGone(t, names...)
}

// nothingLeft: when the Pods are gone, so is every process of their runtime.
func (r *rig) nothingLeft(t *testing.T) {
	if err := r.client.CoreV1().Namespaces().Delete(t.Context(), r.namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	pods, err := r.client.CoreV1().Pods(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		r.untilGone(t, pod.Name)
	}
	patterns := map[string]string{
		runtimes.Runc: "^/labprobe ", runtimes.GVisor: "^runsc-", runtimes.WasmEdge: "^.libcrun:wasmedge",
	}
	for _, node := range r.cluster.Nodes() {
		var left string
		err := wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, podLimit, true, func(ctx context.Context) (bool, error) {
			exit, err := r.cluster.Node(node).Run(ctx, nil, "pgrep", "-af", patterns[r.runtime])
			left = string(exit.Stdout)
			return exit.Code == 1, err // pgrep(1): 1 is no match
		})
		if err != nil {
			t.Errorf("processes left on %s: %v\n%s", node, err, left)
		}
	}
}

// falseClass: a class that is called gvisor and whose handler is runc is not
// proved, though its Pods run.
func falseClass(t *testing.T, cluster provision.Cluster, client kubernetes.Interface) {
	const name = "e2e-false-gvisor"
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: runtimes.Runc}
	if _, err := client.NodeV1().RuntimeClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.NodeV1().RuntimeClasses().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	err := runtimes.Prove(t.Context(), cluster, map[string]string{runtimes.GVisor: name}, progress.Discard)
	for _, want := range []string{name, "the kernel inside is the node's", "not runsc-sandbox"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	// A handler that containerd doesn't have: the error carries what it says.
	missing := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name + "-missing"}, Handler: "no-such-handler"}
	if _, err := client.NodeV1().RuntimeClasses().Create(t.Context(), missing, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.NodeV1().RuntimeClasses().Delete(context.Background(), missing.Name, metav1.DeleteOptions{})
	})
	err = runtimes.Prove(t.Context(), cluster, map[string]string{runtimes.Runc: missing.Name}, progress.Discard)
	for _, want := range []string{"FailedCreatePodSandBox", `no runtime for "no-such-handler" is configured`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

// newNamespace makes an empty namespace that goes with the test.
func newNamespace(t *testing.T, client kubernetes.Interface, prefix string) string {
	t.Helper()
	ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	// The service account comes a moment later, and Pods need it.
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, podLimit, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ServiceAccounts(ns.Name).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}
