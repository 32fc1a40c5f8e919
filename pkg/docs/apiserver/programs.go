package apiserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
	"golang.org/x/mod/semver"
)

// AssetsVariable names a folder with etcd and kube-apiserver, as for
// controller-runtime's envtest and setup-envtest.
const AssetsVariable = "KUBEBUILDER_ASSETS"

// ErrNoPrograms is a machine that has no etcd and kube-apiserver and can't
// build them.
var ErrNoPrograms = errors.New("no API server to judge by")

// ErrUnknownVersion is a Kubernetes version that labctl doesn't pin.
var ErrUnknownVersion = errors.New("unknown Kubernetes version")

// programs are the paths of the two programs.
type programs struct{ apiserver, etcd string }

// Versions lists the minor versions of Kubernetes that labctl pins, such as
// "1.37"; the first is the default.
func Versions() ([]string, error) {
	pinned, err := nodeimage.APIServers()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(pinned))
	for i, p := range pinned {
		out[i] = p.Minor()
	}
	return out, nil
}

// find gives the programs: those of KUBEBUILDER_ASSETS, those that labctl
// pins, from its cache or built, and those on PATH.
func find(ctx context.Context, o Options) (programs, error) {
	if dir := os.Getenv(AssetsVariable); dir != "" {
		return fromAssets(ctx, dir, o.Version)
	}
	pinned, err := nodeimage.APIServers()
	if err != nil {
		return programs{}, err
	}
	wanted, err := choose(pinned, o.Version)
	if err != nil {
		return programs{}, err
	}
	var p programs
	p.apiserver, p.etcd, err = wanted.Programs(ctx, nodeimage.Options{CacheDir: o.Cache.Dir}, o.Log)
	if err == nil {
		return p, nil
	}
	// Only what this machine lacks is a reason to take another one's build.
	if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, gomodule.ErrDownload) {
		return programs{}, err
	}
	p, pathErr := fromPath(ctx, o.Version)
	if pathErr != nil {
		return programs{}, fmt.Errorf("%w: %w; %w; install Go, or set %s to a folder with etcd and kube-apiserver, or use a cluster (--server cluster, --kubeconfig)",
			ErrNoPrograms, err, pathErr, AssetsVariable)
	}
	return p, nil
}

// choose finds a version among the pinned ones: "1.30", "v1.30", "1.30.14";
// "" is the first.
func choose(pinned []nodeimage.APIServer, version string) (nodeimage.APIServer, error) {
	v := "v" + strings.TrimPrefix(version, "v")
	var known []string
	for _, p := range pinned {
		if version == "" || v == p.Version || v == semver.MajorMinor(p.Version) {
			return p, nil
		}
		known = append(known, p.Minor())
	}
	return nodeimage.APIServer{}, fmt.Errorf("%w %q: labctl has %s", ErrUnknownVersion, version, strings.Join(known, ", "))
}

func fromAssets(ctx context.Context, dir, version string) (programs, error) {
	p := programs{apiserver: filepath.Join(dir, "kube-apiserver"), etcd: filepath.Join(dir, "etcd")}
	for _, file := range []string{p.apiserver, p.etcd} {
		if _, err := exec.LookPath(file); err != nil {
			return p, fmt.Errorf("%w: %s=%s: %w", ErrNoPrograms, AssetsVariable, dir, err)
		}
	}
	if err := p.check(ctx, version); err != nil {
		return p, fmt.Errorf("%s=%s: %w", AssetsVariable, dir, err)
	}
	return p, nil
}

func fromPath(ctx context.Context, version string) (p programs, err error) {
	if p.apiserver, err = exec.LookPath("kube-apiserver"); err != nil {
		return p, err
	}
	if p.etcd, err = exec.LookPath("etcd"); err != nil {
		return p, err
	}
	return p, p.check(ctx, version)
}

// check sees that the API server is of the version that is wanted, if one is.
func (p programs) check(ctx context.Context, version string) error {
	if version == "" {
		return nil
	}
	r, err := process.Run(ctx, process.Command{Argv: []string{p.apiserver, "--version"}})
	if err != nil {
		return err
	}
	is := versionOf(string(r.Stdout))
	v := "v" + strings.TrimPrefix(version, "v")
	if v != is && v != semver.MajorMinor(is) {
		return fmt.Errorf("%w: %s is %s, not %s", ErrUnknownVersion, p.apiserver, is, version)
	}
	return nil
}

var printed = regexp.MustCompile(`v\d+\.\d+\.\d+[-+.\w]*`)

// versionOf reads what kube-apiserver --version prints: "Kubernetes v1.37.2".
func versionOf(output string) string { return printed.FindString(output) }
