package labprobe

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/hypervisor"
)

// capturedMachine reads a tree of testdata/hardware: files, links ("-> TARGET"),
// CPUID leaves and the evidence that is wanted, NAME=TEXT a line.
func capturedMachine(t *testing.T, file string) (tree fstest.MapFS, leaves hypervisor.Leaves, want string) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tree = fstest.MapFS{}
	for _, f := range a.Files {
		switch f.Name {
		case "cpuid":
			if leaves, err = hypervisor.ParseLeaves(string(f.Data)); err != nil {
				t.Fatal(err)
			}
		case "want":
			want = string(f.Data)
		default:
			putFile(tree, f.Name, string(f.Data))
		}
	}
	return tree, leaves, want
}

func putFile(tree fstest.MapFS, name, text string) {
	if target, ok := strings.CutPrefix(text, "-> "); ok {
		tree[name] = &fstest.MapFile{Data: []byte(strings.TrimSpace(target)), Mode: symlink}
		return
	}
	tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
}

// wantEvidence checks NAME=TEXT lines; NAME alone must be absent.
func wantEvidence(t *testing.T, set evidence.Set, want string) {
	t.Helper()
	for line := range strings.Lines(want) {
		name, text, given := strings.Cut(strings.TrimRight(line, "\n"), "=")
		v, ok := set.Get(name)
		switch {
		case !given && ok:
			t.Errorf("%s is %q, want it absent", name, v.Text())
		case given && !ok:
			t.Errorf("%s is absent, want %q", name, text)
		case given && v.Text() != text:
			t.Errorf("%s is %q, want %q", name, v.Text(), text)
		}
	}
}

func TestHardware(t *testing.T) {
	files, err := filepath.Glob("testdata/hardware/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no trees: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			tree, leaves, want := capturedMachine(t, file)
			set, err := measureHardware(tree, leaves)
			if err != nil {
				t.Fatal(err)
			}
			wantEvidence(t, set, want)
		})
	}
}

// TestHardwareTurns changes one thing of a tree: what the labs decide by must
// turn.
func TestHardwareTurns(t *testing.T) {
	leaves := func(s string) *string { return &s }
	cases := []struct {
		name, tree string
		cpuid      *string
		set        map[string]string // "-" removes
		want       string
	}{
		{
			name: "no vmx and no svm", tree: "intel-server",
			cpuid: leaves("0x00000001 0x00: eax=0x00050654 ebx=0x00200800 ecx=0x7ffefbdf edx=0xbfebfbff"),
			set: map[string]string{
				"proc/cpuinfo": "flags\t: fpu vme\n", "dev/kvm": "-", "sys/module/kvm/parameters/halt_poll_ns": "-",
				"sys/module/kvm_intel/parameters/nested": "-", "sys/module/kvm_intel/parameters/ept": "-", "sys/module/kvm_intel/parameters/tdx": "-",
			},
			want: "cpu.vmx=false\ncpu.svm=false\ncpu.ept=false\ncpuid.vmx=false\nkvm.device=false\nkvm.modules=[]\nkvm.nested=no\nkvm.ept=no\ntdx.host=no",
		},
		{
			name: "an AMD server with SEV", tree: "intel-server",
			cpuid: leaves("0x00000001 0x00: eax=0x0 ebx=0x0 ecx=0x0 edx=0x0\n0x80000001 0x00: eax=0x0 ebx=0x0 ecx=0x4 edx=0x0\n0x8000000a 0x00: eax=0x0 ebx=0x0 ecx=0x0 edx=0x1\n0x8000001f 0x00: eax=0x1b ebx=0x0 ecx=0x0 edx=0x0"),
			set: map[string]string{
				"proc/cpuinfo":                           "flags\t: fpu svm npt\n",
				"sys/module/kvm_intel/parameters/nested": "-", "sys/module/kvm_intel/parameters/ept": "-", "sys/module/kvm_intel/parameters/tdx": "-",
				"sys/module/kvm_amd/parameters/nested": "1\n", "sys/module/kvm_amd/parameters/npt": "N\n", "sys/module/kvm_amd/parameters/sev": "Y\n",
			},
			want: "cpu.svm=true\ncpu.npt=true\ncpuid.npt=true\ncpuid.sev=true\ncpuid.sev_es=true\ncpuid.sev_snp=true\nkvm.modules=[kvm_amd]\nkvm.nested=yes\nkvm.ept=no\nsev.host=yes\ntdx.host=no",
		},
		{
			name: "no TPM", tree: "intel-server",
			set:  map[string]string{"dev/tpm0": "-", "sys/class/tpm/tpm0/tpm_version_major": "-"},
			want: "tpm.device=false\ntpm.count=0\ntpm.version=",
		},
		{
			name: "no CPUID and no /proc/cpuinfo", tree: "firecracker-pci", cpuid: leaves(""),
			set:  map[string]string{"proc/cpuinfo": "-"},
			want: "cpu.vmx\ncpu.svm\ncpu.model\ncpuid.vmx\ncpuid.signatures\nkvm.nested=unknown\nsev.host=unknown",
		},
		{
			name: "drivers as modules", tree: "firecracker-pci",
			set:  map[string]string{"proc/modules": "virtio_net 1 0 - Live 0x0\nvirtio_blk 1 0 - Live 0x0\n"},
			want: "virtio.modules.loaded=[virtio_blk virtio_net]\nvirtio.modules.builtin=[virtio_pci]",
		},
		{
			name: "emulated devices in place of virtio", tree: "firecracker-pci",
			set: map[string]string{
				"sys/bus/virtio/devices/virtio1": "-", "sys/bus/virtio/devices/virtio2": "-",
				"sys/devices/pci0000:00/0000:00:02.0/uevent": "DRIVER=ahci\nPCI_ID=8086:2922\n", "sys/devices/pci0000:00/0000:00:03.0/uevent": "DRIVER=e1000\nPCI_ID=8086:100E\n",
			},
			want: "virtio.devices=0\nvirtio.types=[]\npci.virtio=0\nemulated.devices=[ahci e1000]\nnet.drivers=[e1000]\nblock.drivers=[ahci]",
		},
		{
			name: "a real e1000 is no imitation", tree: "intel-server",
			set:  map[string]string{"sys/devices/pci0000:00/0000:00:1f.6/uevent": "DRIVER=e1000\nPCI_ID=8086:100E\n"},
			want: "emulated.devices=[]\nnet.drivers=[e1000]",
		},
		{
			name: "Xen", tree: "virtio-mmio",
			set:  map[string]string{"sys/hypervisor/type": "xen\n"},
			want: "xen.present=true",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tree, l, _ := capturedMachine(t, filepath.Join("testdata/hardware", c.tree+".txtar"))
			if c.cpuid != nil {
				l = nil
				if *c.cpuid != "" {
					var err error
					if l, err = hypervisor.ParseLeaves(*c.cpuid); err != nil {
						t.Fatal(err)
					}
				}
			}
			for name, text := range c.set {
				if text == "-" {
					delete(tree, name)
					continue
				}
				putFile(tree, name, text)
			}
			set, err := measureHardware(tree, l)
			if err != nil {
				t.Fatal(err)
			}
			wantEvidence(t, set, c.want)
		})
	}
}

func TestKernelLog(t *testing.T) {
	const log = "<5>[    0.000000] Linux version 6.12\n<6>[    0.1] accept connections\n<6>[    0.2] kvm: ept enabled\n<6>[    0.3] ept_hook\n"
	cases := []struct{ name, log, match, want string }{
		{"found", log, "ept", "log.lines=4\nlog.whole=true\nlog.matches=3\nlog.words=1\nlog.first=<6>[    0.1] accept connections"},
		{"not found", log, "npt", "log.matches=0\nlog.words=0\nlog.first="},
		{"the beginning is gone", strings.SplitAfterN(log, "\n", 2)[1], "ept", "log.lines=3\nlog.whole=false"},
		{"empty", "", "ept", "log.lines=0\nlog.whole=false\nlog.matches=0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			set, err := measureKernelLog([]string{"--match", c.match}, []byte(c.log))
			if err != nil {
				t.Fatal(err)
			}
			wantEvidence(t, set, c.want)
		})
	}
}

func TestTracing(t *testing.T) {
	tracefs := fstest.MapFS{
		"events/sched/sched_switch/format":    {},
		"events/net/net_dev_queue/format":     {},
		"events/enable":                       {},
		"kprobe_events":                       {},
		"events/virtio_net_other/rx_queue/id": {},
	}
	const kallsyms = "0000000000000000 t __seccomp_filter\n0000000000000000 T virtnet_poll\t[virtio_net]\nrubbish\n"
	cases := []struct {
		args []string
		want string
	}{
		{
			[]string{"--event", "virtio_net:rx_queue", "--event", "sched:sched_switch", "--symbol", "seccomp_run_filter", "--symbol", "__seccomp_filter", "--symbol", "virtnet_poll"},
			"tracing.kprobes=true\ntracing.systems=3\nevents.present=[sched:sched_switch]\nevents.absent=[virtio_net:rx_queue]\nsymbols.present=[__seccomp_filter virtnet_poll]\nsymbols.absent=[seccomp_run_filter]",
		},
		{[]string{"--event", "net:net_dev_queue"}, "events.present=[net:net_dev_queue]\nevents.absent=[]\nsymbols.present=[]\nsymbols.absent=[]"},
		{[]string{"--symbol", "rubbish"}, "tracing.kprobes\ntracing.systems\nsymbols.absent=[rubbish]"},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			set, err := measureTracing(c.args, tracefs, []byte(kallsyms))
			if err != nil {
				t.Fatal(err)
			}
			wantEvidence(t, set, c.want)
		})
	}
}

func TestHardwareUsage(t *testing.T) {
	cases := []struct {
		args []string
		want string
	}{
		{[]string{"hardware", "x"}, "takes no arguments"},
		{[]string{"kernel-log"}, "--match TEXT"},
		{[]string{"kernel-log", "--match", "a", "b"}, "--match TEXT"},
		{[]string{"tracing"}, "--event SYSTEM:EVENT"},
		{[]string{"tracing", "--event", "sched"}, "SYSTEM:EVENT"},
		{[]string{"tracing", "--event", "../..:etc"}, "SYSTEM:EVENT"},
		{[]string{"kvm", "--timeout", "0s"}, "--timeout DURATION"},
		{[]string{"kvm", "--timeout", "2h"}, "--timeout DURATION"},
		{[]string{"kvm", "--as-uid", "-7"}, "--as-uid UID"},
		{[]string{"init", "now"}, "takes no arguments"},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			command, err := Lookup(c.args[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := command.Outputs(c.args[1:]); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}
