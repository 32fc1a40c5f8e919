package labprobe

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// a user that owns no other processes, so that limits count only our own.
const lonelyUser = 54321

// asUser runs labprobe (this test binary, see TestMain) as another user,
// under the wrapper's argv if there is one.
func asUser(t *testing.T, uid uint32, wrapper []string, args ...string) evidence.Set {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("becoming another user takes root")
	}
	argv := slices.Concat(wrapper, []string{reachable(t)}, args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	report, err := Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	set, err := report.Result()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// reachable copies the test binary to where every user may execute it.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "labprobe-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	path := filepath.Join(dir, "labprobe")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func prlimit(t *testing.T, limit string) []string {
	t.Helper()
	path, err := exec.LookPath("prlimit")
	if err != nil {
		t.Skip("setting limits takes prlimit (package util-linux)")
	}
	return []string{path, limit}
}

func TestSyscalls(t *testing.T) {
	set := runCommand(t, "syscalls")
	if got := value[string](t, set, "errno.getpid"); got != "" {
		t.Errorf("getpid answers %s", got)
	}
	if got := value[string](t, set, "errno.unknown"); got != "ENOSYS" && got != "EPERM" { // EPERM: a seccomp profile of the test's own place
		t.Errorf("a system call that isn't there answers %q", got)
	}
	tried, supported := value[int64](t, set, "tried.count"), value[int64](t, set, "supported.count")
	unsupported := value[[]string](t, set, "unsupported")
	if tried != int64(len(syscallNames)) || tried-supported != int64(len(unsupported)) {
		t.Errorf("%d tried, %d supported, unsupported %q", tried, supported, unsupported)
	}
	for _, name := range syscallNames {
		if _, ok := syscallTable[name]; !ok {
			t.Errorf("no arguments for %s", name)
		}
	}
}

func TestSeccomp(t *testing.T) {
	for _, c := range []struct {
		mode, call    string
		errno, signal string
	}{
		{"none", "getpid", "", ""},
		{"errno", "getpid", "EPERM", ""},
		{"kill", "getpid", "", "SIGSYS"},
		{"none", "setns", "EBADF", ""},
		{"errno", "setns", "EPERM", ""},
		{"kill", "setns", "", "SIGSYS"},
	} {
		t.Run(c.mode+" "+c.call, func(t *testing.T) {
			set := runCommand(t, "seccomp", c.mode, c.call)
			if e, s := value[string](t, set, "errno"), value[string](t, set, "signal"); e != c.errno || s != c.signal {
				t.Errorf("errno %q, signal %q, want %q, %q", e, s, c.errno, c.signal)
			}
			if got := value[bool](t, set, "killed"); got != (c.signal != "") {
				t.Errorf("killed %v", got)
			}
		})
	}
	// This process itself is under no filter of a child's.
	if _, err := os.Stat("/"); err != nil {
		t.Error(err)
	}
}

func TestPrivileges(t *testing.T) {
	t.Run("root", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("the test doesn't run as root")
		}
		set := runCommand(t, "privileges")
		for _, name := range []string{"chown", "setuid", "setgid"} {
			if got := value[string](t, set, name+".errno"); got != "" {
				t.Errorf("%s: %s", name, got)
			}
		}
		if os.Geteuid() != 0 {
			t.Error("the test's own user changed")
		}
	})
	t.Run("user", func(t *testing.T) {
		set := asUser(t, lonelyUser, nil, "privileges")
		denied := value[[]string](t, set, "denied")
		for _, name := range []string{"chown", "setuid", "setgid", "chroot", "mknod", "raw_socket", "unshare", "mount", "sethostname", "reboot"} {
			if got := value[string](t, set, name+".errno"); got != "EPERM" && got != "EACCES" {
				t.Errorf("%s: %q", name, got)
			}
			if !slices.Contains(denied, name) {
				t.Errorf("%s is not among the denied %q", name, denied)
			}
		}
		if got := value[int64](t, set, "uid"); got != lonelyUser {
			t.Errorf("uid %d", got)
		}
	})
}

func TestFork(t *testing.T) {
	t.Run("room", func(t *testing.T) {
		set := runCommand(t, "fork", "--max", "5")
		if n := value[int64](t, set, "forked.count"); n != 5 || value[bool](t, set, "limited") {
			t.Errorf("%v", set)
		}
	})
	t.Run("limit", func(t *testing.T) {
		set := asUser(t, lonelyUser, prlimit(t, "--nproc=40"), "fork", "--max", "100")
		n := value[int64](t, set, "forked.count")
		if n < 1 || n >= 40 || !value[bool](t, set, "limited") || value[string](t, set, "errno") != "EAGAIN" {
			t.Errorf("%v", set)
		}
	})
	t.Run("no child is left", func(t *testing.T) {
		if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
			t.Errorf("wait4: %v", err)
		}
	})
}

func TestMemory(t *testing.T) {
	t.Run("room", func(t *testing.T) {
		set := runCommand(t, "memory", "--bytes", "32Mi")
		before, with := quantity(t, set, "rss.before"), quantity(t, set, "rss")
		if !value[bool](t, set, "allocated") || with < before+30<<20 {
			t.Errorf("%v", set)
		}
	})
	t.Run("limit", func(t *testing.T) {
		set := asUser(t, lonelyUser, prlimit(t, "--as=2147483648"), "memory", "--bytes", "3Gi")
		if value[bool](t, set, "allocated") || value[string](t, set, "errno") != "ENOMEM" {
			t.Errorf("%v", set)
		}
		if _, ok := set.Get("rss"); ok {
			t.Error("resident memory of an allocation that failed")
		}
	})
}

func quantity(t *testing.T, set evidence.Set, name string) uint64 {
	t.Helper()
	n, err := parseBytes(value[string](t, set, name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestThrottleWithoutQuota(t *testing.T) {
	set := runCommand(t, "throttle", "--duration", "50ms")
	wall, cpu := value[time.Duration](t, set, "wall"), value[time.Duration](t, set, "cpu")
	if wall < 50*time.Millisecond || cpu <= 0 || value[time.Duration](t, set, "stall.max") > wall {
		t.Errorf("%v", set)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runThrottle(ctx, []string{"--duration", "1m"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestThrottleUnderQuota(t *testing.T) {
	group, err := newCPUGroup(2*time.Millisecond, 100*time.Millisecond)
	var untestable *evidence.Untestable
	if errors.As(err, &untestable) {
		t.Skip(untestable.Reason)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := group.remove(); err != nil {
			t.Error(err)
		}
	}()
	// The shell enters the group before it becomes labprobe.
	out, err := exec.Command("sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(group.path, "cgroup.procs"),
		"/proc/"+strconv.Itoa(os.Getpid())+"/exe", "throttle", "--duration", "1s").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	report, err := Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	set, err := report.Result()
	if err != nil {
		t.Fatal(err)
	}
	if !value[bool](t, set, "throttle.visible") || value[int64](t, set, "throttled.periods") < 1 ||
		value[time.Duration](t, set, "throttled.time") <= 0 || value[float64](t, set, "cpu.share") > 0.5 {
		t.Errorf("a quota of a fiftieth of a CPU doesn't show: %v", set)
	}
}

func TestSpeed(t *testing.T) {
	set := runCommand(t, "cpu", "--rounds", "3", "--duration", "5ms")
	if best, p50 := value[float64](t, set, "rate.max"), value[float64](t, set, "rate.p50"); p50 <= 0 || best < p50 {
		t.Errorf("%v", set)
	}
	set = runCommand(t, "syscall-bench", "--n", "100", "--rounds", "3")
	for _, c := range benchedCalls {
		if best, p50 := value[float64](t, set, c.name+".min"), value[float64](t, set, c.name+".p50"); best <= 0 || p50 < best {
			t.Errorf("%s: %v, %v", c.name, best, p50)
		}
	}
	if arithmetic(10) == arithmetic(11) {
		t.Error("the loop does nothing")
	}
}

func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		name     string
		argv     []string
		failures int64
		codes    []string
		said     string
	}{
		{"success", []string{"true"}, 0, []string{"0"}, ""},
		{"failure", []string{"sh", "-c", "echo out; echo wrong >&2; exit 3"}, 4, []string{"3"}, "out\nwrong"},
		{"signal", []string{"sh", "-c", "kill -9 $$"}, 4, []string{"SIGKILL"}, ""},
		{"the empty module", []string{"sh", "-c", `test "$(wc -c < "$0")" = 36`, emptyWasm}, 0, []string{"0"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := runCommand(t, append([]string{"measure", "-n", "4", "--warmup", "0", "--"}, c.argv...)...)
			check(t, set, map[string]any{
				"runs": int64(4), "failures": c.failures, "exit.codes": c.codes, "failure": c.said,
			}, nil)
			least, most := value[time.Duration](t, set, "wall.min"), value[time.Duration](t, set, "wall.max")
			p50, p95 := value[time.Duration](t, set, "wall.p50"), value[time.Duration](t, set, "wall.p95")
			if least <= 0 || p50 < least || p95 < p50 || most < p95 {
				t.Errorf("%v", set)
			}
		})
	}
	t.Run("memory", func(t *testing.T) {
		small := runCommand(t, "measure", "-n", "1", "--", "true")
		large := runCommand(t, "measure", "-n", "1", "--", "/proc/self/exe", "memory", "--bytes", "64Mi")
		if s, l := quantity(t, small, "rss.max"), quantity(t, large, "rss.max"); s == 0 || s > 32<<20 || l < 64<<20 {
			t.Errorf("true took %d bytes, 64Mi took %d", s, l)
		}
	})
	t.Run("no such program", func(t *testing.T) {
		report, code := reportOf(t, "measure", "--", "/nosuch/program")
		if code != 1 || !strings.Contains(report.Error, "/nosuch/program") {
			t.Errorf("%d, %+v", code, report)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := runMeasure(ctx, []string{"--", "sleep", "60"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	t.Run("cancelled while traced", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := peakMemory(ctx, []string{"sleep", "60"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestIdentityOfThisProcess(t *testing.T) {
	set := runCommand(t, "identity")
	check(t, set, map[string]any{"go.os": "linux", "pid": int64(os.Getpid()), "uid": int64(os.Getuid())}, nil)
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := value[string](t, set, "kernel.release"), strings.TrimSpace(string(b)); got != want {
		t.Errorf("kernel.release %q, /proc says %q", got, want)
	}
}

func TestNativeIsGrantedEverything(t *testing.T) {
	set := runCommand(t, "wasi", "--open", "/proc/version")
	check(t, set, map[string]any{
		"go.os": "linux", "open.denied": false, "open.errno": "", "socket.available": true,
		"exec.available": true, "preopens": []string{}, "preopens.count": int64(0),
	}, nil)
	if got := value[string](t, set, "escape.errno"); got == "ENOTCAPABLE" || got == "EPERM" {
		t.Errorf("leaving /tmp: %s", got)
	}
	set = runCommand(t, "wasi", "--open", "/nosuch")
	check(t, set, map[string]any{"open.denied": true, "open.errno": "ENOENT"}, nil)
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "file")
	if err := os.WriteFile(inside, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := runCommand(t, "files", "--inside", inside, "--outside", filepath.Join(dir, "nosuch"))
	check(t, set, map[string]any{
		"inside.readable": true, "inside.errno": "", "inside.content": "content",
		"outside.readable": false, "outside.errno": "ENOENT", "outside.content": "",
	}, nil)
	set = runCommand(t, "files", "--outside", dir)
	check(t, set, map[string]any{"outside.readable": true, "outside.content": ""}, []string{"inside.readable"})
}
