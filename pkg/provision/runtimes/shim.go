package runtimes

import (
	"bytes"
	"context"
	"crypto/sha512"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

// gvisorSource is Debian's source package of gVisor, gvisorVersion its version
// upstream in trixie, whose package runsc the shim has to fit. Debian doesn't
// build the shim itself.
const (
	gvisorSource  = "golang-gvisor-gvisor"
	gvisorVersion = "0.0~20240729.0"
)

// ShimOptions says where gVisor comes from.
type ShimOptions struct {
	// GVisorDir is a folder with a gVisor release (runsc,
	// containerd-shim-runsc-v1 and a .sha512 file of each, as upstream
	// publishes them). "" builds the shim from Debian's source package, and
	// runsc is Debian's.
	GVisorDir string
	// Architecture is the GOARCH that the shim is built for; "" is this
	// machine's. A release folder has one of its own.
	Architecture string
}

// Sources fetches the verified tarballs of a Debian source package
// (*debian.Apt).
type Sources interface {
	Source(ctx context.Context, dir, name string) ([]string, error)
}

// patches are what is changed in gVisor's source; see patchShim.
//
//go:embed shim
var patches embed.FS

// shimInputs is everything that decides what Shim gives. With a release folder
// its files are read and verified.
func shimInputs(o ShimOptions) ([]string, error) {
	if o.GVisorDir != "" {
		sums, err := verifyRelease(o.GVisorDir)
		return append([]string{"release"}, sums...), err
	}
	inputs := []string{"source", gvisorSource, gvisorVersion}
	if o.Architecture != "" && o.Architecture != runtime.GOARCH {
		inputs = append(inputs, "GOARCH="+o.Architecture)
	}
	for _, p := range shimPatches {
		inputs = append(inputs, p.file, p.old, p.new)
		if p.added == "" {
			continue
		}
		added, err := patches.ReadFile(p.added)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, string(added))
	}
	return inputs, nil
}

// Shim returns a folder that holds containerd-shim-runsc-v1, and runsc where
// the user's release brings it, ready for Files.
func Shim(ctx context.Context, cache artifact.Cache, sources Sources, o ShimOptions, log progress.Log) (dir string, err error) {
	inputs, err := shimInputs(o)
	if err != nil {
		return "", err
	}
	if o.GVisorDir != "" {
		return o.GVisorDir, nil
	}
	key := artifact.Key{Name: "gvisor-shim", Inputs: inputs}
	if cache.Has(key) {
		return cache.Path(key), nil
	}
	step := log.Start("gVisor shim")
	defer func() { step.End(err) }()
	return cache.Ensure(ctx, key, func(ctx context.Context, dir string) error {
		return buildShim(ctx, sources, dir, o.Architecture, step, log.Output())
	})
}

// buildShim builds in a folder below dir, so that whatever an interrupted
// build leaves goes with dir.
func buildShim(ctx context.Context, sources Sources, dir, architecture string, step progress.Step, log io.Writer) error {
	if architecture == "" {
		architecture = runtime.GOARCH
	}
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		return err
	}
	step.Update(0, 3, "source from Debian")
	tarballs, err := sources.Source(ctx, dir, gvisorSource)
	if err != nil {
		return err
	}
	want := gvisorSource + "_" + gvisorVersion + ".orig.tar.gz"
	if len(tarballs) == 0 || filepath.Base(tarballs[0]) != want {
		return fmt.Errorf("the source package %s of Debian is %q, and this labctl is made for %s; take a newer labctl, or give a gVisor release with --gvisor", gvisorSource, tarballs, want)
	}
	step.Update(1, 3, "unpack")
	if err := run(ctx, log, src, nil, "tar", "--extract", "--strip-components=1", "--no-same-owner", "--file", tarballs[0]); err != nil {
		return err
	}
	if err := patchShim(src); err != nil {
		return err
	}
	step.Update(2, 3, "go build")
	// gVisor's own go.mod and go.sum pin what the shim is linked with.
	env := append([]string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS=linux", "GOARCH=" + architecture}, gomodule.Compiler()...)
	if err := run(ctx, log, src, env, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -X gvisor.dev/gvisor/runsc/version.version="+gvisorVersion,
		"-o", filepath.Join(dir, shimProgram), "./shim"); err != nil {
		return err
	}
	for _, path := range append(tarballs, src) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, log io.Writer, dir string, env []string, argv ...string) error {
	_, err := process.Run(ctx, process.Command{Argv: argv, Dir: dir, Log: log, Env: env})
	return err
}

// shimPatch replaces text of a file of gVisor's and adds a file beside it.
type shimPatch struct {
	file     string // below the source's root
	old, new string
	added    string // below patches; "" for none
}

var shimPatches = []shimPatch{
	{
		// Without CAP_SYS_RESOURCE the shim ends because it can't lower its score.
		file:  "pkg/shim/service.go",
		old:   "shim.SetScore(cmd.Process.Pid)",
		new:   "setScore(cmd.Process.Pid)",
		added: "shim/oom_score.go",
	},
	{
		// With it Pods' limits hold on cgroup v1 under the systemd driver too.
		file:  "pkg/shim/runsc/service.go",
		old:   "updated = setPodCgroup(spec) || updated",
		new:   "updated = setSliceCgroup(spec) || setPodCgroup(spec) || updated",
		added: "shim/slice_cgroup.go",
	},
	{
		// A package that the shim is linked with reads the vDSO, which is for
		// the Sentry alone, when it starts. Without this the build would need a
		// C++ compiler for a file that the shim never uses.
		file: "pkg/sentry/loader/vdso.go",
		old:  "var vdsoSigreturnOffset = func() uint64 {\n",
		new:  "var vdsoSigreturnOffset = func() uint64 {\n\tif len(vdsodata.Binary) == 0 {\n\t\treturn 0\n\t}\n",
	},
}

// ignoreTag keeps the added files out of labctl's own build.
const ignoreTag = "//go:build ignore\n\n"

// patchShim makes gVisor's source ready to build the shim.
func patchShim(src string) error {
	for _, p := range shimPatches {
		if err := p.apply(src); err != nil {
			return fmt.Errorf("patch gVisor: %w", err)
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		vdso := filepath.Join(src, "pkg/sentry/loader/vdsodata/vdso_"+arch+".so")
		if err := os.WriteFile(vdso, nil, 0o644); err != nil {
			return fmt.Errorf("patch gVisor: %w", err)
		}
	}
	return nil
}

func (p shimPatch) apply(src string) error {
	path := filepath.Join(src, p.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := bytes.Count(text, []byte(p.old)); n != 1 {
		return fmt.Errorf("%s has %q %d times, not once", p.file, p.old, n)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(p.old), []byte(p.new), 1), 0o644); err != nil {
		return err
	}
	if p.added == "" {
		return nil
	}
	added, err := patches.ReadFile(p.added)
	if err != nil {
		return err
	}
	beside := filepath.Join(filepath.Dir(path), "labctl_"+filepath.Base(p.added))
	return os.WriteFile(beside, bytes.TrimPrefix(added, []byte(ignoreTag)), 0o644)
}

// verifyRelease checks the programs of a release folder against the checksums
// beside them and returns those.
func verifyRelease(dir string) ([]string, error) {
	var sums []string
	var errs []error
	for _, name := range []string{runscProgram, shimProgram} {
		sum, err := verifySHA512(filepath.Join(dir, name))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		sums = append(sums, sum)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("gVisor release in %s: %w", dir, err)
	}
	return sums, nil
}

// verifySHA512 compares a file with FILE.sha512, in the format of sha512sum(1).
func verifySHA512(path string) (string, error) {
	checksum, err := os.ReadFile(path + ".sha512")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(checksum))
	if len(fields) == 0 || len(fields[0]) != hex.EncodedLen(sha512.Size) {
		return "", fmt.Errorf("%s.sha512 holds no SHA-512 checksum; expected the output of sha512sum", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != strings.ToLower(fields[0]) {
		return "", fmt.Errorf("%s does not match its checksum; download both again", path)
	}
	return fields[0], nil
}
