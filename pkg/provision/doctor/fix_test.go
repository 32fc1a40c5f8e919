package doctor

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/progress"
)

// fakes puts scripts in the place of apt-get and sudo: what a test may do to
// the machine is asking.
func fakes(t *testing.T, apt, sudo string) (calls func() string) {
	t.Helper()
	bin := t.TempDir()
	log := filepath.Join(bin, "calls")
	for name, script := range map[string]string{"apt-get": "echo \"$@\" >>" + log + "\n" + apt, "sudo": sudo} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return func() string {
		b, _ := os.ReadFile(log) // no call, no file
		return string(b)
	}
}

const sudoWorks = `shift; exec "$@"`

func TestFix(t *testing.T) {
	calls := fakes(t, "", sudoWorks)
	dir := filepath.Join(t.TempDir(), "lib", "modules")
	err := Fix(t.Context(), []Finding{
		{ID: "engine", Packages: []string{"podman", "iptables"}},
		{ID: "again", Packages: []string{"iptables"}},
		{ID: "lib-modules", MakeDir: dir},
		{ID: "kvm"},
	}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	got := calls()
	if !strings.Contains(got, "update\n") || !strings.Contains(got, "install --yes --no-install-recommends -- iptables podman\n") {
		t.Errorf("apt-get was called with\n%s", got)
	}
}

func TestFixWithNothingToDo(t *testing.T) {
	calls := fakes(t, "exit 1", "exit 1")
	if err := Fix(t.Context(), []Finding{{ID: "kvm"}}, progress.Discard); err != nil || calls() != "" {
		t.Errorf("%v, %s", err, calls())
	}
}

func TestFixSaysWhatAptSaid(t *testing.T) {
	for said, apt := range map[string]string{
		"Unable to locate package":    `case "$*" in *install*) echo "E: Unable to locate package podman" >&2; exit 100;; esac`,
		"No space left on device":     `case "$*" in *install*) echo "E: Write error - write (28: No space left on device)" >&2; exit 100;; esac`,
		"Temporary failure resolving": `echo "E: Temporary failure resolving 'mirror'" >&2; exit 100`,
	} {
		fakes(t, apt, sudoWorks)
		err := Fix(t.Context(), []Finding{{Packages: []string{"podman"}}}, progress.Discard)
		if err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: %v", said, err)
		}
	}
	// An update that fails in part doesn't matter if the package is there.
	fakes(t, `case "$*" in *update*) exit 100;; esac`, sudoWorks)
	if err := Fix(t.Context(), []Finding{{Packages: []string{"podman"}}}, progress.Discard); err != nil {
		t.Error(err)
	}
}

func TestFixWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		return // root needs no sudo
	}
	fakes(t, "", "exit 1")
	err := Fix(t.Context(), []Finding{{Packages: []string{"podman"}}, {MakeDir: "/lib/modules"}}, progress.Discard)
	if err == nil || !strings.Contains(err.Error(), "run as root: apt-get install podman && mkdir -p /lib/modules") {
		t.Errorf("%v", err)
	}
}

func TestCollect(t *testing.T) {
	f, err := Collect(t.Context(), Options{NoCluster: true, CacheDir: t.TempDir()}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if f.OS != runtime.GOOS || f.Root != (os.Geteuid() == 0) || f.Now.IsZero() || f.Built.IsZero() {
		t.Errorf("%+v", f)
	}
	if len(f.Disks) == 0 || f.Disks[0].Free == 0 {
		t.Errorf("disks: %+v", f.Disks)
	}
	if !f.Programs["go"] || f.Go == "" {
		t.Errorf("the go that runs this test isn't seen: %+v", f)
	}
	if f.Engine != "" || f.Refusal != nil {
		t.Error("an engine was tried where none is wanted")
	}
	if _, err := registry(t.Context(), "UPPER CASE"); err == nil {
		t.Error("a base image that is no reference is taken")
	}
}
