//go:build e2e

package microvm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/debian"
	family "github.com/isolation-stack/labctl/pkg/verify/microvm"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// prepared fetches Debian's kernel with the machine's own apt and packs the
// labprobe of this tree.
func prepared(t *testing.T) *probe.MicroVM {
	t.Helper()
	if _, err := exec.LookPath(QEMU); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v: install qemu-system-x86", err)
		}
		t.Skipf("%v: install qemu-system-x86 to run this test", err)
	}
	program := filepath.Join(t.TempDir(), "labprobe")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "github.com/isolation-stack/labctl/cmd/labprobe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := artifact.Default()
	if err != nil {
		t.Fatal(err)
	}
	vm, err := Prepare(t.Context(), Options{
		Cache: cache, Suite: "trixie", Labprobe: b, Log: progress.Discard,
		Apt: func(ctx context.Context) (Apt, error) {
			return debian.Open(ctx, debian.Options{Dir: filepath.Join(cache.Dir, "apt"), Suite: "trixie"})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestBoot(t *testing.T) {
	vm := prepared(t)
	kind := family.Kind()
	boot := func(t *testing.T, params string) (evidence.Set, error) {
		p, err := kind.New([]byte(params))
		if err != nil {
			t.Fatal(err)
		}
		return p.Run(t.Context(), probe.Environment{MicroVM: vm})
	}
	// What differs between two machines is the counter-case of each.
	cases := []struct{ name, params, want string }{
		{
			"virtio without PCI", `{"labprobe": ["hardware"], "memory": "96Mi"}`,
			"hypervisor.present=yes\nhypervisor.machine=microvm\nvirtio.types=[balloon block net rng]\nvirtio.transports=[mmio]\npci.devices=0\npci.virtio=0\n" +
				"net.drivers=[virtio_net]\nblock.drivers=[virtio_blk]\nemulated.devices=[]\nkernel.distributor=debian\ndmi.present=false\nvm.machine=microvm\nvm.memory=96Mi",
		},
		{
			"virtio on a PC", `{"labprobe": ["hardware"], "machine": "q35", "accel": "tcg"}`,
			// A q35 has a SATA controller of its own, without disks here.
			"hypervisor.name=tcg\nhypervisor.machine=q35\nhypervisor.monitor=qemu\nvirtio.types=[balloon block net rng]\nvirtio.transports=[pci]\npci.virtio=4\nemulated.devices=[ahci]\nblock.drivers=[virtio_blk]\ndmi.vendor=QEMU\nvm.accelerator=tcg",
		},
		{
			"emulated devices", `{"labprobe": ["hardware"], "machine": "q35", "devices": "emulated", "cpus": 2}`,
			"virtio.devices=0\nvirtio.types=[]\npci.virtio=0\nemulated.devices=[ahci e1000 vga]\nblock.devices=[sda=ahci]\nvm.devices=emulated\nvm.cpus=2",
		},
		{
			"another command", `{"labprobe": ["hello", "from", "a guest"], "accel": "tcg"}`,
			"hello=from a guest\nvm.accelerator=tcg\nvm.accelerator_reason=",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			set, err := boot(t, c.params)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(c.want) {
				name, text, _ := strings.Cut(strings.TrimSpace(line), "=")
				if v, ok := set.Get(name); !ok || v.Text() != text || v.Source.Where != "microvm" {
					t.Errorf("%s is %q (found: %v, where: %q), want %q", name, v.Text(), ok, v.Source.Where, text)
				}
			}
			for _, name := range []string{"vm.boot_time", "vm.kernel_time"} {
				if v, _ := set.Get(name); v.Value.(time.Duration) <= 0 {
					t.Errorf("%s is %v", name, v.Value)
				}
			}
			for _, name := range []string{"vm.accelerator", "vm.accelerator_reason", "vm.boot_time", "vm.kernel_time", "vm.rss", "clock.current"} {
				v, _ := set.Get(name)
				t.Logf("%s %s", name, v.Text())
			}
		})
	}
	t.Run("a command that breaks is an error", func(t *testing.T) {
		_, err := boot(t, `{"labprobe": ["init"], "accel": "tcg"}`)
		var untestable *evidence.Untestable
		if err == nil || errors.As(err, &untestable) || !strings.Contains(err.Error(), "labprobe init") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what a guest can't show is untestable", func(t *testing.T) {
		_, err := boot(t, `{"labprobe": ["kvm"], "accel": "tcg"}`)
		var untestable *evidence.Untestable
		if !errors.As(err, &untestable) || !strings.Contains(untestable.Reason, "/dev/kvm") {
			t.Errorf("got %v, want untestable", err)
		}
	})
	t.Run("too little memory is an error with the console", func(t *testing.T) {
		_, err := boot(t, `{"labprobe": ["hello"], "memory": "32Mi", "accel": "tcg", "timeout": "1m"}`)
		if err == nil || !strings.Contains(err.Error(), "the microVM ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no time is an error", func(t *testing.T) {
		_, err := boot(t, `{"labprobe": ["sleep", "30s"], "accel": "tcg", "timeout": "3s"}`)
		if err == nil || !strings.Contains(err.Error(), "within 3s") {
			t.Errorf("got %v", err)
		}
	})
}
