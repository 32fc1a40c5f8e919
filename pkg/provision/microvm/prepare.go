// Package microvm prepares what microVMs boot from: Debian's cloud kernel as
// it is, and an initramfs with labprobe as the first process and the modules
// for virtio and for a PC's usual disks.
package microvm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// QEMU is the program that runs the machines; Debian's package
// qemu-system-x86 has it.
const QEMU = "qemu-system-x86_64"

// Package is Debian's kernel for virtual machines: the one it was built and
// signed as, not one made for labs. It depends on the kernel of the day.
const Package = "linux-image-cloud-amd64"

// layout is the version of what the artifacts hold; change it with them.
const layout = "3"

// Apt is what Prepare needs of a Debian release: *debian.Apt is one.
type Apt interface {
	// Depends names the packages that a package depends on.
	Depends(ctx context.Context, name string) ([]string, error)
	// Download fetches and verifies packages into dir.
	Download(ctx context.Context, dir string, packages ...string) ([]string, error)
}

// Options says what to prepare from.
type Options struct {
	Cache artifact.Cache
	// Suite is the Debian release that Apt serves; part of the kernel's key.
	Suite string
	// Apt opens the release; it is called only if the cache has no kernel.
	Apt func(ctx context.Context) (Apt, error)
	// Labprobe is the program for linux/amd64, static.
	Labprobe []byte
	Log      progress.Log
}

// Prepare makes the artifacts or finds them in the cache. QEMU is not looked
// for further than PATH: where it is missing the result's QEMU is "" and
// microVM probes say that they are untestable.
func Prepare(ctx context.Context, o Options) (*probe.MicroVM, error) {
	qemu, err := exec.LookPath(QEMU)
	if err != nil {
		o.Log.Info("no %s on this machine: probes in microVMs will be untestable; Debian's package qemu-system-x86 has it", QEMU)
		return &probe.MicroVM{}, nil
	}
	kernelKey := artifact.Key{Name: "microvm-kernel", Inputs: []string{layout, o.Suite, Package}}
	kernel, err := ensure(ctx, o, kernelKey, "fetch Debian's cloud kernel for microVMs", func(ctx context.Context, dir string) error {
		apt, err := o.Apt(ctx)
		if err != nil {
			return err
		}
		return fetchKernel(ctx, apt, dir, o)
	})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(o.Labprobe)
	initramfsKey := artifact.Key{Name: "microvm-initramfs", Inputs: []string{layout, kernelKey.ID(), hex.EncodeToString(sum[:])}}
	initramfs, err := ensure(ctx, o, initramfsKey, "pack labprobe for microVMs", func(_ context.Context, dir string) error {
		return writeInitramfs(filepath.Join(dir, initramfsName), o.Labprobe, os.DirFS(filepath.Join(kernel, modulesDir)))
	})
	if err != nil {
		return nil, err
	}
	return &probe.MicroVM{
		QEMU:      qemu,
		Kernel:    filepath.Join(kernel, kernelName),
		Initramfs: filepath.Join(initramfs, initramfsName),
	}, nil
}

const (
	kernelName    = "kernel"
	modulesDir    = "modules"
	initramfsName = "initramfs.cpio"
)

func ensure(ctx context.Context, o Options, k artifact.Key, title string, build func(context.Context, string) error) (string, error) {
	if o.Cache.Has(k) {
		return o.Cache.Path(k), nil
	}
	step := o.Log.Start(title)
	dir, err := o.Cache.Ensure(ctx, k, build)
	step.End(err)
	return dir, err
}

func fetchKernel(ctx context.Context, apt Apt, dir string, o Options) error {
	names, err := apt.Depends(ctx, Package)
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return fmt.Errorf("package %s depends on %q, want the one kernel of the day", Package, names)
	}
	download, err := os.MkdirTemp(dir, "download-")
	if err != nil {
		return err
	}
	debs, err := apt.Download(ctx, download, names[0])
	if err != nil {
		return err
	}
	if err := unpackKernel(ctx, debs[0], dir, o.Log.Output()); err != nil {
		return fmt.Errorf("package %s: %w", names[0], err)
	}
	return os.RemoveAll(download)
}
