package k3s

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/service"
)

// restart restarts K3s. If it doesn't come back with the files that were just
// written, they are taken back and it is restarted once more.
func (u *up) restart(ctx context.Context, f facts, written []Change) error {
	err := u.p.restart(ctx, u.l, f.unit, false, u.log)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var files []string
	for _, c := range written {
		if c.step == configure {
			files = append(files, c.write.Path)
		}
	}
	if len(files) == 0 {
		return err
	}
	u.log.Info("K3s doesn't come back; labctl takes %s back", strings.Join(files, ", "))
	for _, file := range files {
		if back := u.l.Revert(file); back != nil {
			return errors.Join(err, fmt.Errorf("take %s back: %w", file, back))
		}
	}
	if again := u.p.restart(ctx, u.l, f.unit, true, u.log); again != nil {
		return fmt.Errorf("K3s did not come back with labctl's %s: %w\nThe file was taken back, and K3s doesn't come back without it either: %w", strings.Join(files, ", "), err, again)
	}
	return fmt.Errorf("K3s did not come back with labctl's %s, so that was taken back, and K3s runs as before: %w", strings.Join(files, ", "), err)
}

// restart restarts K3s's service, waits until its node is Ready again and says
// which containers did not go on. With stop, K3s is stopped first: one that
// fails and is started over and over by its service's manager logs on.
func (p *Provider) restart(ctx context.Context, l *ledger.Ledger, unit string, stop bool, log progress.Log) (err error) {
	step := log.Start("Restarting K3s")
	defer func() { step.End(err) }()
	manager, err := service.Detect(p.m, unit)
	if err != nil {
		return err
	}
	before := p.tasks(ctx)
	if stop {
		if err := manager.Stop(ctx); err != nil {
			return err
		}
	}
	mark := p.logSize()
	began := time.Now()
	// K3s says that it has started before its containerd runs, and a start that
	// failed is tried again by the service's manager: what counts is the node.
	limited, cancel := context.WithTimeout(ctx, p.times.back)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- manager.Restart(limited) }()
	err = p.back(limited, mark, began, started)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		cancel()
		return err
	}
	if lost := missing(before, p.tasks(ctx)); len(lost) > 0 {
		log.Info("After the restart of K3s, these containers that ran before don't: %s", strings.Join(lost, ", "))
	}
	return l.Restarted()
}

// refusal is what containerd prints when it can't start (its cmd/containerd).
var refusal = regexp.MustCompile(`(?m)^containerd: .*$`)

// back waits until K3s is back: its service has started, its containerd
// answers, and its kubelet has renewed the node's lease and is Ready.
func (p *Provider) back(ctx context.Context, mark int64, began time.Time, started <-chan error) error {
	var failed error
	var failedAt time.Time
	last := "its service starts"
	for {
		lines := p.logSince(mark)
		if refused := refusal.FindAll(lines, -1); len(refused) > 0 {
			return fmt.Errorf("its containerd refuses the configuration (%s):\n  %s", containerdLog, bytes.Join(slices.CompactFunc(refused, bytes.Equal), []byte("\n  ")))
		}
		ready := ""
		if started == nil {
			if ready = p.notReady(ctx, began); ready == "" {
				return nil
			}
			last = ready
		}
		// The service's manager may bring up at the second try what failed at the first.
		const grace = 20 * time.Second
		if failed != nil && time.Since(failedAt) > grace {
			return failed
		}
		select {
		case err := <-started:
			started = nil
			if err != nil {
				failed, failedAt = err, time.Now()
			}
		case <-ctx.Done():
			if failed != nil {
				return failed
			}
			return fmt.Errorf("it is not back after %v: %s%s", p.times.back, last, p.tellLog(lines))
		case <-time.After(p.times.poll):
		}
	}
}

// notReady says what K3s still lacks; "" if it is back.
func (p *Provider) notReady(ctx context.Context, began time.Time) string {
	limited, cancel := context.WithTimeout(ctx, p.times.answer)
	defer cancel()
	if out, err := p.ctr(limited, "version"); err != nil {
		return "its containerd doesn't answer: " + strings.TrimSpace(out+" "+err.Error())
	}
	client, err := p.client()
	if err != nil {
		return err.Error()
	}
	nodes, err := client.CoreV1().Nodes().List(limited, metav1.ListOptions{})
	if err != nil {
		return "its API server doesn't answer: " + err.Error()
	}
	n, err := p.here(nodes.Items)
	if err != nil {
		return err.Error()
	}
	lease, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(limited, n.Name, metav1.GetOptions{})
	if err != nil || lease.Spec.RenewTime == nil || lease.Spec.RenewTime.Time.Before(began.Truncate(time.Second)) {
		return "the kubelet of node " + n.Name + " has not renewed its lease"
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return ""
			}
			return fmt.Sprintf("node %s: %s: %s", n.Name, c.Reason, c.Message)
		}
	}
	return "the kubelet of node " + n.Name + " has not reported"
}

// tasks are the containers that run, with the process of each.
func (p *Provider) tasks(ctx context.Context) map[string]string {
	limited, cancel := context.WithTimeout(ctx, p.times.answer)
	defer cancel()
	out, err := p.ctr(limited, "tasks", "ls")
	if err != nil {
		return nil // no containerd runs, so no container does
	}
	running := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "RUNNING" {
			running[f[0]] = f[1]
		}
	}
	return running
}

// missing are the containers of before that don't run as the same process.
func missing(before, after map[string]string) []string {
	var lost []string
	for id, pid := range before {
		if after[id] != pid {
			lost = append(lost, id)
		}
	}
	slices.Sort(lost)
	return lost
}

// ctr runs the ctr that K3s brings.
func (p *Provider) ctr(ctx context.Context, args ...string) (string, error) {
	return p.m.Output(ctx, append([]string{programs + "/ctr", "--address", socket, "--namespace", "k8s.io"}, args...)...)
}

func (p *Provider) logSize() int64 {
	info, err := os.Stat(p.m.Path(containerdLog))
	if err != nil {
		return 0
	}
	return info.Size()
}

// logSince is what containerd logged after the mark; a log that got shorter
// was rotated.
func (p *Provider) logSince(mark int64) []byte {
	f, err := os.Open(p.m.Path(containerdLog))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err != nil || info.Size() < mark {
		mark = 0
	}
	if _, err := f.Seek(mark, io.SeekStart); err != nil {
		return nil
	}
	const most = 1 << 20
	b, _ := io.ReadAll(io.LimitReader(f, most)) // as far as it goes
	return b
}

func (p *Provider) tellLog(lines []byte) string {
	var bad []string
	for line := range strings.Lines(string(lines)) {
		if strings.Contains(line, "level=error") || strings.Contains(line, "level=fatal") {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	if len(bad) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s:\n  %s", containerdLog, strings.Join(bad[max(0, len(bad)-8):], "\n  "))
}

// pressures are the conditions under which the kubelet takes no Pods
// (https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/).
var pressures = []corev1.NodeConditionType{corev1.NodeDiskPressure, corev1.NodeMemoryPressure, corev1.NodePIDPressure}

// awaitRoom waits until the kubelet takes Pods: it goes on refusing them for
// minutes after there is room again (eviction-pressure-transition-period).
func (p *Provider) awaitRoom(ctx context.Context, c *Cluster, log progress.Log) error {
	var step progress.Step
	limited, cancel := context.WithTimeout(ctx, p.times.room)
	defer cancel()
	for {
		n, err := c.client.CoreV1().Nodes().Get(limited, c.node, metav1.GetOptions{})
		under := ""
		if err == nil {
			under = pressure(n)
		}
		if full := p.full(); under != "" && full != "" {
			err = fmt.Errorf("node %s takes no Pods: %s; %s\n%s", c.node, under, full, makeRoom)
			if step != nil {
				step.End(err)
			}
			return err
		}
		if step == nil && under != "" {
			step = log.Start("Waiting until the kubelet takes Pods again")
		}
		if err == nil && under == "" {
			if step != nil {
				step.End(nil)
			}
			return nil
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				err = ctx.Err()
			} else if err == nil {
				err = fmt.Errorf("node %s takes no Pods: %s; make room, and run the same command again", c.node, under)
			}
			if step != nil {
				step.End(err)
			}
			return err
		case <-time.After(p.times.poll):
		}
	}
}

// evictionPercent is how much of a disk has to be free for K3s's kubelet to
// take Pods (its eviction-hard is nodefs.available<5%,imagefs.available<5%).
const evictionPercent = 5

// full names a disk of K3s's that has too little room; "" if none has.
func (p *Provider) full() string {
	for _, dir := range []string{dataDir, "/var/lib/kubelet"} {
		var stat syscall.Statfs_t
		if err := syscall.Statfs(p.m.Path(dir), &stat); err != nil {
			continue // not there yet
		}
		size := uint64(stat.Bsize)
		if stat.Bavail*100 < stat.Blocks*evictionPercent {
			return fmt.Sprintf("of the %d MiB of the disk below %s %d MiB are free", stat.Blocks*size>>20, dir, stat.Bavail*size>>20)
		}
	}
	return ""
}

// pressure is why the kubelet takes no Pods; "" if it does.
func pressure(n *corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if slices.Contains(pressures, c.Type) && c.Status == corev1.ConditionTrue {
			return fmt.Sprintf("%s (%s: %s)", c.Type, c.Reason, c.Message)
		}
	}
	return ""
}
