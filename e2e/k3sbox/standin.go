//go:build e2e

package k3sbox

import (
	"archive/zip"
	"compress/flate"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
)

// The generations of containerd's configuration that K3s had.
const (
	V2     = "v2"        // version 2 base; the stand-in says that it is 1.30
	V3     = "v3"        // version 3 base without imports; 1.33
	DropIn = "v3-dropin" // version 3 base that imports config-v3.toml.d; newest
)

// Files are what K3s is installed from, as paths on this machine.
type Files struct {
	Binary    string
	Installer string
	// Images is the air-gap archive; "" where the real thing was given
	// without one.
	Images string
	// Real says that Binary is K3s itself.
	Real bool
}

// ImagesName is how the air-gap archive is called in agent/images.
var ImagesName = "k3s-airgap-images-" + runtime.GOARCH + ".tar"

// Prepare gives the stand-in of a generation ("" is DropIn), built at the
// first use and kept in labctl's cache. LABCTL_K3S_BINARY, LABCTL_K3S_INSTALLER
// and LABCTL_K3S_IMAGES put the real files in its place, whose generation is
// what it is.
func Prepare(t testing.TB, generation string) Files {
	t.Helper()
	f := Files{
		Binary: os.Getenv("LABCTL_K3S_BINARY"), Installer: os.Getenv("LABCTL_K3S_INSTALLER"), Images: os.Getenv("LABCTL_K3S_IMAGES"),
	}
	if f.Installer == "" {
		f.Installer = filepath.Join(sourceDir(), "install.sh")
	}
	if f.Binary != "" {
		f.Real = true
		return f
	}
	if generation == "" {
		generation = DropIn
	}
	dir, err := assemble(context.Background())
	if err != nil {
		t.Fatalf("stand-in for K3s: %v", err)
	}
	f.Images = filepath.Join(dir, ImagesName)
	f.Binary = filepath.Join(t.TempDir(), "k3s")
	if err := writeGeneration(filepath.Join(dir, "k3s"), f.Binary, generation); err != nil {
		t.Fatalf("stand-in for K3s: %v", err)
	}
	return f
}

// sourceDir is this package's folder.
func sourceDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// commentSize is the fixed length of the archive's comment in bytes, which is
// at the very end of the file.
const commentSize = 160

// comment is what the program knows of itself (type version of k3s/main.go).
func comment(generation, hash string) (string, error) {
	sum := sha256.Sum256([]byte(generation + "\n" + hash))
	b, err := json.Marshal(map[string]any{
		"generation": generation, "hash": hex.EncodeToString(sum[:]), "failCgroupV1": generation == DropIn,
	})
	if err != nil || len(b) > commentSize {
		return "", fmt.Errorf("comment %s: %w", b, err)
	}
	return string(b) + strings.Repeat(" ", commentSize-len(b)), nil
}

// writeGeneration copies the stand-in and says in its comment what it is.
func writeGeneration(from, to, generation string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(out, h), in, info.Size()-commentSize); err != nil {
		return err
	}
	c, err := comment(generation, hex.EncodeToString(h.Sum(nil)))
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, c)
	return err
}

// inputs are the files that decide the stand-in, beside the parts of the node
// image, which have hashes of their own.
func inputs() ([]string, error) {
	var out []string
	for _, root := range []string{"k3s", "kine"} {
		err := filepath.WalkDir(filepath.Join(sourceDir(), root), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.HasSuffix(p, "_test.go") {
				return err
			}
			b, err := os.ReadFile(p)
			rel, relErr := filepath.Rel(sourceDir(), p)
			out = append(out, rel, string(b))
			return errors.Join(err, relErr)
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// assemble makes the folder with the stand-in and its images.
func assemble(ctx context.Context) (string, error) {
	cache, err := artifact.Default()
	if err != nil {
		return "", err
	}
	programs, err := nodeimage.Programs(ctx, nodeimage.Options{}, progress.Discard)
	if err != nil {
		return "", err
	}
	in, err := inputs()
	if err != nil {
		return "", err
	}
	key := artifact.Key{Name: "k3sbox", Inputs: append(in, "recipe 1", runtime.Version(), runtime.GOARCH)}
	for _, module := range []string{"kubernetes", "containerd", "coredns", "local-path", "pause"} {
		key.Inputs = append(key.Inputs, filepath.Base(programs[module]))
	}
	return cache.Ensure(ctx, key, func(ctx context.Context, dir string) error {
		packages, err := unpackedPackages(ctx, cache)
		if err != nil {
			return err
		}
		build := filepath.Join(dir, "build")
		if err := buildPrograms(ctx, build); err != nil {
			return err
		}
		v, err := versions(programs)
		if err != nil {
			return err
		}
		if err := writeImages(filepath.Join(dir, ImagesName), programs, packages, v); err != nil {
			return err
		}
		if err := writeStandIn(filepath.Join(dir, "k3s"), build, programs, packages, v); err != nil {
			return err
		}
		return os.RemoveAll(build)
	})
}

// unpackedPackages is a folder with runc, the CNI plug-ins and busybox of
// Debian.
func unpackedPackages(ctx context.Context, cache artifact.Cache) (string, error) {
	packages := []string{"base-files", "runc", "containernetworking-plugins", "busybox-static"}
	wanted := []string{"usr/sbin/runc", "usr/bin/busybox", "usr/lib/cni/bridge", "usr/lib/cni/host-local", "usr/lib/cni/loopback", "usr/lib/cni/portmap", "usr/lib/cni/ptp"}
	pins, err := images.ReadPins()
	if err != nil {
		return "", err
	}
	key := artifact.Key{Name: "k3sbox-packages", Inputs: append(append([]string{pins.Debian.Suite, runtime.GOARCH}, packages...), wanted...)}
	return cache.Ensure(ctx, key, func(ctx context.Context, dir string) error {
		apt, err := openApt(ctx, cache, pins.Debian.Suite)
		if err != nil {
			return err
		}
		tar := filepath.Join(dir, "root.tar")
		if err := apt.Extract(ctx, tar, packages...); err != nil {
			return err
		}
		argv := []string{"tar", "--extract", "--file", tar, "--directory", dir}
		for _, w := range wanted {
			argv = append(argv, "./"+w)
		}
		if _, err := process.Run(ctx, process.Command{Argv: argv}); err != nil {
			return err
		}
		return os.Remove(tar)
	})
}

func openApt(ctx context.Context, cache artifact.Cache, suite string) (*debian.Apt, error) {
	return debian.Open(ctx, debian.Options{Dir: filepath.Join(cache.Dir, "apt"), Suite: suite})
}

// buildPrograms builds the launcher and kine, which is a module of its own
// because of SQLite (cgo).
func buildPrograms(ctx context.Context, dir string) error {
	for _, b := range []struct {
		src, pkg, cgo string
	}{{sourceDir(), "./k3s", "0"}, {filepath.Join(sourceDir(), "kine"), "tool", "1"}} {
		_, err := process.Run(ctx, process.Command{
			Argv: []string{"go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir + "/", b.pkg},
			Dir:  b.src,
			Env:  []string{"CGO_ENABLED=" + b.cgo, "GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOWORK=off", "GOFLAGS="},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// partVersions are in the names of the images (k3s/deploy.go reads them).
type partVersions struct{ Kubernetes, CoreDNS, LocalPath, Busybox string }

func versions(programs map[string]string) (v partVersions, err error) {
	for _, p := range []struct {
		file, module string
		to           *string
	}{
		{programs["kubernetes"] + "/kubernetes", "k8s.io/kubernetes", &v.Kubernetes},
		{programs["coredns"] + "/coredns", "github.com/coredns/coredns", &v.CoreDNS},
		{programs["local-path"] + "/local-path-provisioner", "github.com/rancher/local-path-provisioner", &v.LocalPath},
	} {
		info, err := buildinfo.ReadFile(p.file)
		if err != nil {
			return v, err
		}
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == p.module {
				*p.to = m.Version
			}
		}
		if *p.to == "" {
			return v, fmt.Errorf("%s doesn't say which version of %s is in it", p.file, p.module)
		}
	}
	v.CoreDNS, v.Busybox = strings.TrimPrefix(v.CoreDNS, "v"), "1.37.0" // the tag that K3s has
	return v, nil
}

// writeStandIn puts the archive behind the launcher.
func writeStandIn(file, build string, programs map[string]string, packages string, v partVersions) (err error) {
	launcher, err := os.Open(filepath.Join(build, "k3s"))
	if err != nil {
		return err
	}
	defer func() { _ = launcher.Close() }() // only read
	out, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	size, err := io.Copy(out, launcher)
	if err != nil {
		return err
	}
	w := zip.NewWriter(out)
	w.SetOffset(size)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestSpeed)
	})
	for _, from := range []string{
		build + "/k3s", build + "/kine", programs["kubernetes"] + "/kubernetes",
		programs["containerd"] + "/containerd", programs["containerd"] + "/containerd-shim-runc-v2", programs["containerd"] + "/ctr",
		packages + "/usr/sbin/runc",
		packages + "/usr/lib/cni/bridge", packages + "/usr/lib/cni/host-local", packages + "/usr/lib/cni/loopback",
		packages + "/usr/lib/cni/portmap", packages + "/usr/lib/cni/ptp",
	} {
		content, err := os.ReadFile(from)
		if err == nil {
			err = addZip(w, "bin/"+filepath.Base(from), 0o755, content)
		}
		if err != nil {
			return err
		}
	}
	links := map[string]string{"k3s-server": "k3s"}
	for _, name := range []string{"kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		links[name] = "kubernetes"
	}
	for name, target := range links {
		if err := addZip(w, "bin/"+name, fs.ModeSymlink|0o777, []byte(target)); err != nil {
			return err
		}
	}
	b, err := json.Marshal(v)
	if err == nil {
		err = addZip(w, "parts.json", 0o644, b)
	}
	if err == nil {
		err = w.SetComment(strings.Repeat(" ", commentSize))
	}
	return errors.Join(err, w.Close())
}

func addZip(w *zip.Writer, name string, mode fs.FileMode, content []byte) error {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	h.SetMode(mode)
	f, err := w.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return err
}
