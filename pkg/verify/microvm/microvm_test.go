package microvm

import (
	"context"
	"errors"
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
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

func TestDecodeRefuses(t *testing.T) {
	cases := []struct{ params, want string }{
		{`{}`, "labprobe: want a command"},
		{``, "labprobe: want a command"},
		{`{"labprobe": ["hello"], "memroy": "64Mi"}`, `unknown field "memroy"`},
		{`{"labprobe": ["no-such"]}`, "unknown labprobe command"},
		{`{"labprobe": ["kernel-log"]}`, "--match TEXT"},
		{`{"labprobe": ["hello"], "accel": "hvf"}`, `accel: "hvf"`},
		{`{"labprobe": ["hello"], "machine": "pc"}`, `machine: "pc"`},
		{`{"labprobe": ["hello"], "devices": "emulated"}`, "take machine: q35"},
		{`{"labprobe": ["hello"], "memory": "lots"}`, `memory: "lots"`},
		{`{"labprobe": ["hello"], "memory": "1Mi"}`, "want 32Mi to 8Gi"},
		{`{"labprobe": ["hello"], "memory": "1Ti"}`, "want 32Mi to 8Gi"},
		{`{"labprobe": ["hello"], "cpus": 0}`, "cpus: 0"},
		{`{"labprobe": ["hello"], "timeout": "soon"}`, `timeout: "soon"`},
		{`{"labprobe": ["hello"], "timeout": "-1s"}`, `timeout: "-1s"`},
	}
	for _, c := range cases {
		t.Run(c.params, func(t *testing.T) {
			if _, err := Kind().New([]byte(c.params)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestUntestable(t *testing.T) {
	p, err := Kind().New([]byte(`{"labprobe": ["hello"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for want, env := range map[string]probe.Environment{"prepared no microVM": {}, "qemu-system-x86": {MicroVM: &probe.MicroVM{}}} {
		_, err := p.Run(t.Context(), env)
		var untestable *evidence.Untestable
		if !errors.As(err, &untestable) || !strings.Contains(untestable.Reason, want) {
			t.Errorf("got %v, want untestable with %q", err, want)
		}
	}
}

func TestQEMUCommandLine(t *testing.T) {
	vm := probe.MicroVM{QEMU: "/q", Kernel: "/k", Initramfs: "/i"}
	cases := []struct {
		params, accel string
		has, hasNot   []string
	}{
		{`{"labprobe": ["hello"], "memory": "96Mi"}`, accelTCG, []string{"98304K", "microvm,auto-kernel-cmdline=off", "virtio-net-device,netdev=net", tcgCPU, "tcg"}, []string{"q35", "e1000,netdev=net,romfile="}},
		{`{"labprobe": ["hello"], "machine": "q35", "cpus": 2}`, accelKVM, []string{"q35", "virtio-net-pci,netdev=net,romfile=", "host", "kvm", "2"}, []string{tcgCPU}},
		{`{"labprobe": ["hello"], "machine": "q35", "cpus": 2}`, accelTCG, []string{"tcg,thread=single", "2"}, []string{"tcg"}},
		{`{"labprobe": ["hello"], "machine": "q35", "devices": "emulated"}`, accelTCG, []string{"e1000,netdev=net,romfile=", "ide-hd,drive=disk"}, []string{"virtio-rng-pci", "virtio-net-pci,netdev=net,romfile="}},
	}
	for _, c := range cases {
		t.Run(c.params, func(t *testing.T) {
			s, err := decode([]byte(c.params))
			if err != nil {
				t.Fatal(err)
			}
			argv := s.qemu(vm, c.accel, "CMDLINE")
			if argv[0] != "/q" {
				t.Errorf("runs %s", argv[0])
			}
			for _, want := range append(c.has, "/k", "/i", "CMDLINE", "-no-reboot", "-nodefaults") {
				if !slices.Contains(argv, want) {
					t.Errorf("%q has no %q", argv, want)
				}
			}
			for _, unwanted := range c.hasNot {
				if slices.Contains(argv, unwanted) {
					t.Errorf("%q has %q", argv, unwanted)
				}
			}
		})
	}
}

func TestKernelCommandLine(t *testing.T) {
	s, err := decode([]byte(`{"labprobe": ["hello"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for khz, want := range map[int64]bool{0: false, 2596122: true} {
		line, err := s.kernelCommandLine(khz)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "tsc_early_khz=2596122 ") != want {
			t.Errorf("%d kHz: %s", khz, line)
		}
		if !strings.HasSuffix(line, " rdinit=/init -- init") {
			t.Errorf("the order of the words matters: %s", line)
		}
	}
}

const (
	readyLine  = `{"guest":"v1","uptime":900000000,"modules":["00-virtio_mmio"]}`
	reportLine = `{"labprobe":"v1","command":"hello","evidence":[{"name":"hello","type":"string","value":"hi","source":{"kind":"program","ref":"arguments"}}]}`
)

// fakeQEMU is a program that does what a script says in place of QEMU.
func fakeQEMU(t *testing.T, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRun(t *testing.T) {
	cases := []struct {
		name, script string
		limit        time.Duration
		want         string // of the error; "" is success
		ready        bool
	}{
		{"reports", "echo noise; printf '" + readyLine + "\\r\\n'; echo '[ 1.0] " + reportLine + "'; sleep 0.2", time.Minute, "", true},
		{"reports and stays", "echo '" + readyLine + "'; echo '" + reportLine + "'; exec sleep 60", time.Minute, "", true},
		{"never prints", "exec sleep 60", 300 * time.Millisecond, "didn't start its first process within 300ms; its console is empty", false},
		{"prints and hangs", "echo one; echo two; exec sleep 60", 300 * time.Millisecond, "last lines:\n  one\n  two", false},
		{"ready and hangs", "echo '" + readyLine + "'; exec sleep 60", 300 * time.Millisecond, "didn't report within 300ms", true},
		{"panics", "echo why; echo '[ 1.2] Kernel panic - not syncing: oh'; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do echo trace; done", time.Minute, "  why\n  [ 1.2] Kernel panic - not syncing: oh", false},
		{"fails to start", "echo qemu: no such machine >&2; exit 1", time.Minute, "ended before it reported (exit status 1); its console's last lines:\n  qemu: no such machine", false},
		{"stopped by KVM", "echo 'KVM internal error. Suberror: 1'; exec sleep 60", time.Minute, "was stopped by KVM", false},
		{"a report of another version", "echo '" + readyLine + `'; echo '{"labprobe":"v9"}'; exec sleep 60`, time.Minute, `version "v9"`, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pid := filepath.Join(t.TempDir(), "pid")
			argv := []string{fakeQEMU(t, "echo $$ >"+pid+"\n"+c.script)}
			got, err := run(t.Context(), argv, c.limit, c.limit+50*time.Millisecond)
			if c.name == "ready and hangs" {
				got, err = run(t.Context(), argv, time.Minute, c.limit)
			}
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got.ready.Uptime != 900*time.Millisecond || got.bootTime <= 0 || got.report.Command != "hello" || got.rss <= 0 {
					t.Errorf("got %+v", got)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			var failed *bootError
			if errors.As(err, &failed) && failed.ready != c.ready {
				t.Errorf("ready is %v, want %v", failed.ready, c.ready)
			}
			gone(t, pid)
		})
	}
}

// gone checks that the process whose id is in a file is no more.
func gone(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		return // it was killed before it could write
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
}

func TestRunInterrupted(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	_, err := run(ctx, []string{fakeQEMU(t, "echo $$ >"+pid+"; exec sleep 60")}, time.Minute, time.Minute)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	gone(t, pid)
	if _, err := run(t.Context(), []string{filepath.Join(t.TempDir(), "none")}, time.Minute, time.Minute); !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a QEMU that isn't there", err)
	}
}

// TestAccelerator: KVM is taken where it works, and where not the evidence
// says why; a lab that insists on it is untestable.
func TestAccelerator(t *testing.T) {
	works := `case "$*" in *"-accel kvm"*) a=kvm;; *) a=tcg;; esac; echo '` + readyLine + `'; echo '` + reportLine + `'`
	breaks := `case "$*" in *"-accel kvm"*) echo "kvm: broken"; exit 1;; esac; echo '` + readyLine + `'; echo '` + reportLine + `'`
	outcome := func(s string) func(context.Context) (evidence.Set, error) {
		return func(context.Context) (evidence.Set, error) {
			return evidence.Set{{Name: "run.outcome", Value: s}, {Name: "run.detail", Value: "detail"}}, nil
		}
	}
	missing := func(context.Context) (evidence.Set, error) {
		return nil, evidence.Untestablef("there is no /dev/kvm here")
	}
	broken := func(context.Context) (evidence.Set, error) { return nil, errors.New("ioctl went wrong") }
	cases := []struct {
		name, accel, script string
		kvm                 func(context.Context) (evidence.Set, error)
		want, reason        string // the accelerator; why it isn't KVM
		untestable, err     string
	}{
		{name: "kvm works", accel: "auto", script: works, kvm: outcome("hlt"), want: "kvm"},
		{name: "kvm hangs", accel: "auto", script: works, kvm: outcome("timeout"), want: "tcg", reason: "to their end here: timeout, detail"},
		{name: "no kvm", accel: "auto", script: works, kvm: missing, want: "tcg", reason: "no /dev/kvm"},
		{name: "kvm boots no guest", accel: "auto", script: breaks, kvm: outcome("hlt"), want: "tcg", reason: "kvm: broken"},
		{name: "tcg asked for", accel: "tcg", script: works, kvm: broken, want: "tcg"},
		{name: "kvm asked for and missing", accel: "kvm", script: works, kvm: missing, untestable: "no /dev/kvm"},
		{name: "kvm asked for and no guest boots", accel: "kvm", script: breaks, kvm: outcome("hlt"), untestable: "kvm: broken"},
		{name: "kvm command breaks", accel: "auto", script: works, kvm: broken, err: "ioctl went wrong"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := decode([]byte(`{"labprobe": ["hello"], "accel": "` + c.accel + `"}`))
			if err != nil {
				t.Fatal(err)
			}
			p := &vmProbe{spec: s, kvm: &kvm{run: c.kvm}}
			env := probe.Environment{MicroVM: &probe.MicroVM{QEMU: fakeQEMU(t, c.script+"; sleep 0.3")}}
			for range 2 { // what is remembered of KVM gives the same answer
				set, err := p.Run(t.Context(), env)
				var untestable *evidence.Untestable
				switch {
				case c.untestable != "":
					if !errors.As(err, &untestable) || !strings.Contains(untestable.Reason, c.untestable) {
						t.Errorf("got %v, want untestable with %q", err, c.untestable)
					}
					continue
				case c.err != "":
					if err == nil || errors.As(err, &untestable) || !strings.Contains(err.Error(), c.err) {
						t.Errorf("got %v, want an error with %q", err, c.err)
					}
					continue
				case err != nil:
					t.Fatal(err)
				}
				accel, _ := set.Get("vm.accelerator")
				reason, _ := set.Get("vm.accelerator_reason")
				if accel.Value != c.want || !strings.Contains(reason.Text(), c.reason) || (c.reason == "") != (reason.Text() == "") {
					t.Errorf("got %v because %q, want %s because %q", accel.Value, reason.Text(), c.want, c.reason)
				}
				for _, v := range set {
					if !slices.ContainsFunc(p.Outputs(), func(o evidence.Output) bool { return o.Name == v.Name && o.Type == v.Type }) {
						t.Errorf("%s is not declared", v.Name)
					}
				}
			}
		})
	}
}
