package packages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// privateMachine is a machine whose apt and dpkg are the real ones, in a mount
// namespace in which /var and /etc/apt are folders of the test: this
// machine's packages are out of reach.
func privateMachine(t *testing.T) machine.Machine {
	t.Helper()
	for _, program := range []string{"apt-get", "dpkg-deb", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: the test installs packages with the real apt and dpkg", program)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: the test gives apt and dpkg a /var of its own in a mount namespace")
	}
	root := t.TempDir()
	for _, d := range []string{
		"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d",
		"var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/dpkg/triggers", "var/lib/apt/lists/partial",
		"var/cache/apt/archives/partial", "var/log/apt", "var/tmp",
	} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const enter = `set -e; root=$1; shift
mount --make-rprivate /
mount --bind "$root/var" /var
mount --bind "$root/etc/apt" /etc/apt
exec "$@"`
	return machine.Machine{Root: root, Exec: func(ctx context.Context, c machine.Command) (probe.Exit, error) {
		argv := append([]string{"unshare", "--mount", "sh", "-c", enter, "sh", root}, c.Argv...)
		r, err := process.Run(ctx, process.Command{Argv: argv, Env: c.Env, Stdin: c.Stdin, Log: c.Log})
		var code *exec.ExitError
		if errors.As(err, &code) && code.Exited() {
			err = nil
		}
		return probe.Exit{Stdout: r.Stdout, Stderr: r.Stderr, Code: r.Code}, err
	}}
}

// deb builds a package whose one file lies below /var and gives its path on
// the machine.
func deb(t *testing.T, m machine.Machine, name, version, fields string) string {
	t.Helper()
	return debWithScript(t, m, name, version, fields, "postinst", "exit 0")
}

func debWithScript(t *testing.T, m machine.Machine, name, version, fields, script, body string) string {
	t.Helper()
	tree := t.TempDir()
	for file, text := range map[string]string{
		"DEBIAN/control":                 fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: none <none@example.org>\nDescription: of a test\n%s", name, version, fields),
		"DEBIAN/" + script:               "#!/bin/sh\n" + body + "\n",
		"var/lib/test-of-labctl/" + name: version,
	} {
		p := filepath.Join(tree, file)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := "/var/debs/" + name + "_" + version + "_all.deb"
	if err := os.MkdirAll(filepath.Dir(m.Path(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, m.Path(path)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func list(t *testing.T, m machine.Machine) []string {
	t.Helper()
	states, err := status(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for name, state := range states {
		out = append(out, name+" "+state)
	}
	slices.Sort(out)
	return out
}

func install(t *testing.T, m machine.Machine, names []string, debs ...string) {
	t.Helper()
	if err := Install(context.Background(), m, names, debs, progress.Discard); err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestInstallAndRemove: packages come with what they depend on and nothing
// that the machine has or that nobody needs, and go without a trace.
func TestInstallAndRemove(t *testing.T) {
	ctx := context.Background()
	m := privateMachine(t)
	library := deb(t, m, "library", "1", "")
	install(t, m, []string{"library"}, library) // the machine has it
	before := list(t, m)
	debs := []string{
		library, deb(t, m, "tool", "1", "Depends: library, engine\nRecommends: manual\n"),
		deb(t, m, "engine", "1", "Depends: plugin | other\n"), deb(t, m, "other", "1", "Provides: plugin\n"),
		deb(t, m, "manual", "1", ""), deb(t, m, "unwanted", "1", ""),
	}
	planned, err := Plan(ctx, m, []string{"tool", "library"}, debs)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "planned", planned, "engine", "other", "tool")
	equal(t, "after the plan", list(t, m), before...)
	for range 2 { // the second time there is nothing to do
		install(t, m, []string{"tool", "library"}, debs...)
		equal(t, "installed", list(t, m), "engine installed", "library installed", "other installed", "tool installed")
	}
	if planned, err := Plan(ctx, m, []string{"tool"}, debs); err != nil || planned != nil {
		t.Errorf("planned again: %v, %v", planned, err)
	}
	for range 2 {
		if err := Remove(ctx, m, append(planned, "tool", "engine", "other", "never-there"), progress.Discard); err != nil {
			t.Fatal(err)
		}
		equal(t, "removed", list(t, m), before...)
	}
	if left, _ := filepath.Glob(m.Path("/var/lib/labctl*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if left, _ := filepath.Glob(m.Path("/var/lib/test-of-labctl/*")); len(left) != 1 {
		t.Errorf("files of packages: %v", left)
	}
}

// TestRemoveRefuses: what others need stays, all of it, and both are named.
func TestRemoveRefuses(t *testing.T) {
	m := privateMachine(t)
	debs := []string{deb(t, m, "ours", "1", ""), deb(t, m, "ours-too", "1", ""), deb(t, m, "theirs", "1", "Depends: ours\n")}
	install(t, m, []string{"ours", "ours-too"}, debs...)
	install(t, m, []string{"theirs"}, debs...)
	err := Remove(context.Background(), m, []string{"ours", "ours-too"}, progress.Discard)
	var needed *NeededError
	if !errors.As(err, &needed) || !slices.Equal(needed.Packages, []string{"ours"}) || !slices.Equal(needed.By, []string{"theirs"}) {
		t.Errorf("got %v", err)
	}
	equal(t, "after the refusal", list(t, m), "ours installed", "ours-too installed", "theirs installed")
}

// TestPlanRefuses: nothing that the machine has is upgraded or removed.
func TestPlanRefuses(t *testing.T) {
	m := privateMachine(t)
	install(t, m, []string{"base"}, deb(t, m, "base", "1", ""))
	for name, c := range map[string]struct{ fields, want string }{
		"an upgrade": {"Depends: base (>= 2)\n", "upgrade base"},
		"a removal":  {"Conflicts: base\n", "remove base"},
		"not there":  {"Depends: nowhere\n", "don't fit this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			debs := []string{deb(t, m, "base", "2", ""), deb(t, m, "wants", "1", c.fields)}
			for what, f := range map[string]func() error{
				"plan":    func() error { _, err := Plan(context.Background(), m, []string{"wants"}, debs); return err },
				"install": func() error { return Install(context.Background(), m, []string{"wants"}, debs, progress.Discard) },
			} {
				if err := f(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: got %v, want it to say %q", what, err, c.want)
				}
			}
			equal(t, "after the refusal", list(t, m), "base installed")
		})
	}
}

// TestOwnSources: packages come from the machine's own apt sources; where its
// lists are missing, labctl gets fresh ones for itself and leaves none.
func TestOwnSources(t *testing.T) {
	ctx := context.Background()
	m := privateMachine(t)
	index, err := indexOf(ctx, m, []string{deb(t, m, "tool", "1", "Depends: library\n"), deb(t, m, "library", "1", "")})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"/var/debs/Packages":            string(index),
		"/etc/apt/sources.list":         "deb [trusted=yes] file:/var/debs ./\n",
		"/etc/apt/apt.conf.d/00sandbox": "APT::Sandbox::User \"root\";\n", // the test's folder is root's
	} {
		if err := os.WriteFile(m.Path(path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	planned, err := Plan(ctx, m, []string{"tool"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "planned", planned, "library", "tool")
	log := &infos{Log: progress.Discard}
	if err := Install(ctx, m, []string{"tool"}, nil, log); err != nil {
		t.Fatal(err)
	}
	equal(t, "installed", list(t, m), "library installed", "tool installed")
	if len(log.lines) != 1 || !strings.Contains(log.lines[0], "fresh ones") {
		t.Errorf("it says %q", log.lines)
	}
	for _, pattern := range []string{"/var/lib/labctl*", "/var/lib/apt/lists/*Packages", "/var/cache/apt/*.bin", "/var/cache/apt/archives/*.deb"} {
		if left, _ := filepath.Glob(m.Path(pattern)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	// With lists of its own the machine is asked for no others.
	if _, err := m.Output(ctx, "apt-get", "update"); err != nil {
		t.Fatal(err)
	}
	if err := Remove(ctx, m, planned, progress.Discard); err != nil {
		t.Fatal(err)
	}
	log.lines = nil
	if err := Install(ctx, m, []string{"tool"}, nil, log); err != nil || len(log.lines) != 0 {
		t.Errorf("%v, %q", err, log.lines)
	}
}
