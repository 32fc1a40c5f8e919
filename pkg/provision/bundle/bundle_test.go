package bundle

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func hash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

func put(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// made is a small bundle: every file's content is its path.
func made(t *testing.T) (dir string, in index) {
	t.Helper()
	dir = t.TempDir()
	in = index{APIVersion: apiVersion, Kind: kind, Architecture: runtime.GOARCH, K3sVersion: "v1.34.1+k3s1", Suite: "trixie"}
	for _, f := range []struct {
		path string
		role Role
	}{
		{"k3s", K3s}, {"install.sh", Installer}, {"images/a.tar.zst", Images},
		{"packages/crun_1_amd64.deb", Package}, {"packages/runsc_1_amd64.deb", Package}, {"programs/containerd-shim-runsc-v1", Program},
	} {
		put(t, filepath.Join(dir, f.path), f.path)
		in.Files = append(in.Files, entry{Path: f.path, Role: f.role, Size: int64(len(f.path)), SHA256: hash(f.path)})
	}
	writeIndex(t, dir, in)
	return dir, in
}

func writeIndex(t *testing.T, dir string, in index) {
	t.Helper()
	b, err := yaml.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, IndexFile), string(b))
}

func TestOpen(t *testing.T) {
	dir, _ := made(t)
	b, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.Architecture != runtime.GOARCH || b.K3sVersion != "v1.34.1+k3s1" || b.Suite != "trixie" {
		t.Errorf("got %+v", b)
	}
	packages := b.Files(Package)
	if len(packages) != 2 || packages[1] != (File{Name: "runsc_1_amd64.deb", Path: filepath.Join(dir, "packages/runsc_1_amd64.deb"), SHA256: hash("packages/runsc_1_amd64.deb"), Size: 26}) {
		t.Errorf("packages: %+v", packages)
	}
	if f, err := b.File(K3s); err != nil || f.Name != "k3s" {
		t.Errorf("k3s: %+v, %v", f, err)
	}
	if _, err := b.File(Package); err == nil {
		t.Error("one of two packages is taken")
	}
}

// Everything in which a bundle can differ from its index is refused, and
// every file that does is named.
func TestOpenRefuses(t *testing.T) {
	outside := put(t, filepath.Join(t.TempDir(), "secret"), "k3s")
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string, in *index)
		want   []string
	}{
		"no bundle": {func(_ *testing.T, dir string, _ *index) { _ = os.Remove(filepath.Join(dir, IndexFile)) }, []string{"labctl bundle k3s"}},
		"several files damaged": {func(t *testing.T, dir string, _ *index) {
			put(t, filepath.Join(dir, "k3s"), "K3s")
			put(t, filepath.Join(dir, "install.sh"), "install.sh and more")
			if err := os.Remove(filepath.Join(dir, "images/a.tar.zst")); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "packages/other.deb"), "")
		}, []string{"k3s: its SHA-256 is", "install.sh: it has 19 bytes, not 10", "images/a.tar.zst: it is missing", "packages/other.deb: it isn't in", "4 of 7 files"}},
		"a link in place of a file": {func(t *testing.T, dir string, _ *index) {
			replaceByLink(t, outside, filepath.Join(dir, "k3s"))
		}, []string{"symbolic link"}},
		"a link in place of a folder": {func(t *testing.T, dir string, _ *index) {
			elsewhere := t.TempDir()
			put(t, filepath.Join(elsewhere, "a.tar.zst"), "images/a.tar.zst")
			replaceByLink(t, elsewhere, filepath.Join(dir, "images"))
		}, []string{"images is a symbolic link", "images: it isn't in"}},
		"a folder in place of a file": {func(t *testing.T, dir string, _ *index) {
			put(t, filepath.Join(dir, "programs/x/y"), "")
			if err := os.Remove(filepath.Join(dir, "programs/containerd-shim-runsc-v1")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "programs/x"), filepath.Join(dir, "programs/containerd-shim-runsc-v1")); err != nil {
				t.Fatal(err)
			}
		}, []string{"no regular file"}},
		"a path out of it":        {func(_ *testing.T, _ string, in *index) { in.Files[0].Path = "../secret" }, []string{`"../secret" is no plain path`}},
		"an absolute path":        {func(_ *testing.T, _ string, in *index) { in.Files[0].Path = outside }, []string{"no plain path"}},
		"a path that isn't clean": {func(_ *testing.T, _ string, in *index) { in.Files[0].Path = "images/../k3s" }, []string{"no plain path"}},
		"an empty path":           {func(_ *testing.T, _ string, in *index) { in.Files[0].Path = "" }, []string{"no plain path"}},
		"a file twice":            {func(_ *testing.T, _ string, in *index) { in.Files[1].Path = "k3s" }, []string{"listed twice"}},
		"its own index":           {func(_ *testing.T, _ string, in *index) { in.Files[0].Path = IndexFile }, []string{"listed twice"}},
		"an unknown role":         {func(_ *testing.T, _ string, in *index) { in.Files[0].Role = "hook" }, []string{`"hook" is no role`}},
		"a newer version":         {func(_ *testing.T, _ string, in *index) { in.APIVersion = "labctl.dev/v2" }, []string{"labctl.dev/v2"}},
		"another architecture":    {func(_ *testing.T, _ string, in *index) { in.Architecture = "s390x" }, []string{"is for s390x", "--arch " + runtime.GOARCH}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, in := made(t)
			before := in
			before.Files = append([]entry(nil), in.Files...)
			c.damage(t, dir, &in)
			if fmt.Sprint(before) != fmt.Sprint(in) {
				writeIndex(t, dir, in)
			}
			_, err := Open(context.Background(), dir)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to say %q", err, want)
				}
			}
		})
	}
}

func replaceByLink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesText(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no YAML":          {"\t", "yaml"},
		"an unknown field": {"apiVersion: labctl.dev/v1alpha1\nkind: Bundle\nhooks: []\n", "hooks"},
		"another kind":     {"apiVersion: labctl.dev/v1alpha1\nkind: Lab\n", `"Lab"`},
		"empty":            {"", "reads Bundle of"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, IndexFile), c.text)
			if _, err := Open(context.Background(), dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestReadSums(t *testing.T) {
	line := func(name string) string { return hash(name) + "  " + name + "\n" }
	for name, c := range map[string]struct {
		sums  string
		files []string
		want  string // in the error; "" for none
	}{
		"text and binary mode":  {line("crun") + strings.Replace(line("bin/runsc"), "  ", " *", 1), []string{"crun", "bin/runsc"}, ""},
		"upper case, ./ and CR": {strings.ToUpper(hash("crun")) + "  ./crun\r\n", []string{"crun"}, ""},
		"missing":               {line("crun") + line("runsc"), []string{"crun"}, "runsc: it is missing"},
		"another file":          {line("crun"), []string{"crun", "shim"}, "shim: it has no line in SHA256SUMS"},
		"damaged":               {hash("x") + "  crun\n", []string{"crun"}, "crun: its SHA-256 is " + hash("crun")},
		"out of the folder":     {line("../crun"), nil, "no path below the folder"},
		"absolute":              {line("/bin/sh"), nil, "no path below the folder"},
		"twice":                 {line("crun") + hash("crun") + "  ./crun\n", []string{"crun"}, "listed twice"},
		"no digest":             {"crun\n", []string{"crun"}, "line 1 is not"},
		"SHA-1":                 {hash("crun")[:40] + "  crun\n", []string{"crun"}, "line 1 is not"},
		"escaped":               {`\` + line("crun"), []string{"crun"}, "line 1 is not"},
		"no name":               {hash("") + "  \n", nil, "line 1 is not"},
		"empty":                 {"", nil, "lists no file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, SumsFile), c.sums)
			for _, f := range c.files {
				put(t, filepath.Join(dir, f), f)
			}
			files, err := ReadSums(context.Background(), dir)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want it to say %q", err, c.want)
				}
				return
			}
			if err != nil || len(files) != len(c.files) {
				t.Fatalf("got %+v, %v", files, err)
			}
			for i, f := range files {
				want := File{Name: filepath.Base(c.files[i]), Path: filepath.Join(dir, c.files[i]), SHA256: hash(c.files[i]), Size: int64(len(c.files[i]))}
				if f != want {
					t.Errorf("got %+v, want %+v", f, want)
				}
			}
		})
	}
	if _, err := ReadSums(context.Background(), t.TempDir()); err == nil || !strings.Contains(err.Error(), SumsFile) {
		t.Errorf("without %s: %v", SumsFile, err)
	}
}
