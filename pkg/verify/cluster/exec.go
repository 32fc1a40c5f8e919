package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
)

// labprobePath is where labprobe's image has it (pkg/probeimage).
const labprobePath = "/labprobe"

// maxText is the most of an output or a log that is evidence, in bytes. More
// is an error: a cut text could decide a claim the wrong way.
const maxText = 256 << 10

type execVerb struct {
	step    *Step
	declare []evidence.Output
	timeout time.Duration
}

func newExec(s *Step) (verb, error) {
	if s.Exec.Pod == "" {
		return nil, errors.New("exec: pod is missing")
	}
	if s.Exec.Previous {
		return nil, errors.New("exec: previous belongs to logs")
	}
	v := &execVerb{step: s}
	var err error
	if v.timeout, err = limit("exec: timeout", s.Exec.Timeout, stepTimeout, time.Hour); err != nil {
		return nil, err
	}
	switch {
	case (s.Labprobe == nil) == (s.Command == nil):
		return nil, errors.New("exec has one of labprobe and command beside it")
	case s.Command != nil && (len(s.Command) == 0 || s.Command[0] == ""):
		return nil, errors.New("command: is empty")
	case s.Command != nil:
		v.declare = commandOutputs
		return v, nil
	case len(s.Labprobe) == 0:
		return nil, errors.New("labprobe: is empty; it names a command and its arguments")
	}
	c, err := labprobe.Lookup(s.Labprobe[0])
	if err != nil {
		return nil, fmt.Errorf("labprobe: %w", err)
	}
	if v.declare, err = c.Outputs(s.Labprobe[1:]); err != nil {
		return nil, fmt.Errorf("labprobe: %s: %w", c.Name, err)
	}
	return v, nil
}

var commandOutputs = []evidence.Output{
	{Name: "exit", Type: evidence.Int, Doc: "the command's exit code; 127 where it isn't there, 126 where the runtime doesn't start it"},
	{Name: "stdout", Type: evidence.String, Doc: "its standard output without trailing newlines"},
	{Name: "stderr", Type: evidence.String, Doc: "its standard error without trailing newlines"},
	{Name: "duration", Type: evidence.Duration, Doc: "how long it took as seen from labctl, the way into the container included"},
}

func (v *execVerb) outputs() []evidence.Output { return v.declare }

func (v *execVerb) prepare(n Names) (action, error) {
	c := *v.step.Exec
	if err := n.texts(&c.Pod, &c.Container); err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	argv := append([]string{}, v.step.Command...)
	if v.step.Labprobe != nil {
		argv = append([]string{labprobePath}, v.step.Labprobe...)
	}
	for i := range argv {
		if err := n.texts(&argv[i]); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, w *world) (evidence.Set, error) {
		limited, cancel := context.WithTimeoutCause(ctx, v.timeout, fmt.Errorf("took longer than %s", v.timeout))
		defer cancel()
		r, err := w.exec(limited, c, argv)
		if err != nil {
			if limited.Err() != nil {
				err = context.Cause(limited)
			}
			return nil, fmt.Errorf("%s in Pod %s: %w", strings.Join(argv, " "), c.Pod, err)
		}
		if v.step.Labprobe != nil {
			report, err := labprobe.Parse(r.stdout)
			if err != nil {
				return nil, fmt.Errorf("exit code %d: %w; stderr: %.300q", r.code, err, r.stderr)
			}
			set, err := report.Result()
			return set.At("pod/" + c.Pod), err
		}
		set := r.evidence(argv, c.Pod)
		if r.code != 0 {
			return set, &unmet{fmt.Errorf("%s in Pod %s: exit code %d: %.2000s", strings.Join(argv, " "), c.Pod, r.code, strings.TrimSpace(string(r.stderr)))}
		}
		return set, nil
	}, nil
}

// ran is what a command in a container gave.
type ran struct {
	code           int
	stdout, stderr []byte
	took           time.Duration
}

func (r ran) evidence(argv []string, pod string) evidence.Set {
	line := strings.Join(argv, " ")
	source := evidence.Source{Kind: "command", Ref: line, Exit: &r.code, Where: "pod/" + pod}
	clock := evidence.Source{Kind: "clock", Ref: "monotonic, around " + line + " and the exec into the container", Where: "pod/" + pod}
	text := func(b []byte) string { return strings.ToValidUTF8(strings.TrimRight(string(b), "\n"), "�") }
	return evidence.Set{
		{Name: "exit", Type: evidence.Int, Value: int64(r.code), Source: source},
		{Name: "stdout", Type: evidence.String, Value: text(r.stdout), Source: source},
		{Name: "stderr", Type: evidence.String, Value: text(r.stderr), Source: source},
		{Name: "duration", Type: evidence.Duration, Value: r.took, Source: clock},
	}
}

// exec runs a command by the Pod's exec subresource: over WebSocket
// (KEP-4006), or SPDY where the API server or a proxy on the way doesn't take
// that.
func (w *world) exec(ctx context.Context, c Container, argv []string) (ran, error) {
	url := w.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(w.in(w.step.Namespace)).Name(c.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: c.Container, Command: argv, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(w.config, "POST", url)
	if err != nil {
		return ran{}, err
	}
	socket, err := remotecommand.NewWebSocketExecutor(w.config, "GET", url.String())
	if err != nil {
		return ran{}, err
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return ran{}, err
	}
	stdout, stderr := &bounded{max: maxText}, &bounded{max: maxText}
	start := time.Now()
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr})
	r := ran{took: time.Since(start), stdout: stdout.Bytes(), stderr: stderr.Bytes()}
	var exit utilexec.ExitError
	switch {
	case stdout.over || stderr.over:
		return ran{}, fmt.Errorf("its output is longer than %d bytes; select from it", maxText)
	case errors.As(err, &exit) && exit.Exited():
		r.code = exit.ExitStatus()
	case err != nil && ctx.Err() == nil && notStarted.MatchString(err.Error()):
		r.code, r.stderr = 126, []byte(err.Error())
		if notFound.MatchString(err.Error()) {
			r.code = 127
		}
	case err != nil:
		return ran{}, err
	}
	return r, nil
}

// What kubelet passes on when a runtime can't start a command: runc, crun and
// runsc each say it in their own words. The codes are those of POSIX shells
// (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html, 2.8.2).
var (
	notStarted = regexp.MustCompile(`(?i)OCI runtime exec failed|exec failed|failed to exec in container|failed to start exec|error executing in container|error executing command in container`)
	notFound   = regexp.MustCompile(`(?i)executable file not found|no such file or directory|executable file .* not found`)
)

// bounded keeps the first bytes of what is written, and says if there was more.
type bounded struct {
	bytes.Buffer
	max  int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.max {
		b.over = true
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

type logsVerb struct{ step *Step }

func newLogs(s *Step) (verb, error) {
	if s.Logs.Pod == "" {
		return nil, errors.New("logs: pod is missing")
	}
	if s.Logs.Timeout != nil {
		return nil, errors.New("logs: timeout belongs to exec")
	}
	return &logsVerb{s}, nil
}

func (v *logsVerb) outputs() []evidence.Output {
	return []evidence.Output{{Name: "text", Type: evidence.String, Doc: "the container's log without trailing newlines"}}
}

func (v *logsVerb) prepare(n Names) (action, error) {
	c := *v.step.Logs
	if err := n.texts(&c.Pod, &c.Container); err != nil {
		return nil, fmt.Errorf("logs: %w", err)
	}
	return func(ctx context.Context, w *world) (evidence.Set, error) {
		limit := int64(maxText + 1)
		stream, err := w.kube.CoreV1().Pods(w.in(w.step.Namespace)).GetLogs(c.Pod, &corev1.PodLogOptions{
			Container: c.Container, Previous: c.Previous, LimitBytes: &limit,
		}).Stream(ctx)
		if err != nil {
			return nil, fmt.Errorf("log of Pod %s: %w", c.Pod, err)
		}
		text, err := io.ReadAll(stream)
		if err := errors.Join(err, stream.Close()); err != nil {
			return nil, fmt.Errorf("log of Pod %s: %w", c.Pod, err)
		}
		if len(text) > maxText {
			return nil, fmt.Errorf("the log of Pod %s is longer than %d bytes", c.Pod, maxText)
		}
		return evidence.Set{{
			Name: "text", Type: evidence.String, Value: strings.ToValidUTF8(strings.TrimRight(string(text), "\n"), "�"),
			Source: evidence.Source{Kind: "object", Ref: "log of Pod " + c.Pod, Where: "pod/" + c.Pod},
		}}, nil
	}, nil
}
