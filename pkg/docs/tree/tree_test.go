package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/docs/extract"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, root string, o Options) []string {
	t.Helper()
	files, findings, err := Files(t.Context(), root, o)
	if err != nil || len(findings) > 0 {
		t.Fatal(err, findings)
	}
	paths := []string{}
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	return paths
}

func TestFiles(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside, "secret.md", "outside")
	for _, name := range []string{
		"z.md", "a/b.markdown", "a/C.MDX", "a-1.md", "a\nb.md", "中文/说明.md", "bad\xff.md",
		// Not wanted:
		"a/notes.txt", ".git/x.md", ".hidden/x.md", ".x.md", "node_modules/p/README.md", "a/vendor/m/README.md", "md",
	} {
		write(t, dir, name, "text of "+name)
	}
	for link, to := range map[string]string{
		"a/up": "..", "a/self.md": "self.md", "link.md": "z.md", "out": outside, "secret.md": filepath.Join(outside, "secret.md"),
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.md"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := []string{"a\nb.md", "a-1.md", "a/C.MDX", "a/b.markdown", "bad\uFFFD.md", "z.md", "中文/说明.md"}
	if got := list(t, dir, Options{}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	files, _, err := Files(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := f.Read()
		if err != nil || name(strings.TrimPrefix(string(text), "text of ")) != f.Path {
			t.Errorf("%q: %q, %v", f.Path, text, err)
		}
	}
	// A link that comes between the walk and the reading isn't followed out.
	if err := errors.Join(os.Remove(filepath.Join(dir, "z.md")), os.Symlink(filepath.Join(outside, "secret.md"), filepath.Join(dir, "z.md"))); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Path != "z.md" {
			continue
		}
		_, err := f.Read()
		if err == nil {
			t.Error("a link that leads outside was read")
		}
		finding := Unread(f.Path, err)
		if finding.Rule != "unreadable" || strings.Contains(finding.Message, dir) {
			t.Errorf("%+v", finding)
		}
	}
}

func TestRootIsFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "docs/README.txt", "text")
	files, _, err := Files(t.Context(), filepath.Join(dir, "docs/README.txt"), Options{})
	if err != nil || len(files) != 1 || files[0].Path != "README.txt" {
		t.Fatal(files, err)
	}
	if text, err := files[0].Read(); string(text) != "text" || err != nil {
		t.Fatal(text, err)
	}
	t.Chdir(filepath.Join(dir, "docs"))
	if got := list(t, "README.txt", Options{}); !slices.Equal(got, []string{"README.txt"}) {
		t.Error(got)
	}
}

func TestRootIsLink(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "real/a.md", "text")
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if got := list(t, filepath.Join(dir, "link"), Options{}); !slices.Equal(got, []string{"a.md"}) {
		t.Error(got)
	}
}

func TestFilesErrors(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Files(t.Context(), filepath.Join(dir, "none"), Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "give a folder") {
		t.Error(err)
	}
	if _, _, err := Files(t.Context(), "/dev/null", Options{}); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Files(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReadIsBounded(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "big.md", "")
	if err := os.Truncate(filepath.Join(dir, "big.md"), 1<<40); err != nil {
		t.Skip("no sparse files here:", err)
	}
	files, _, err := Files(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := files[0].Read()
	if err != nil || len(data) != extract.MaxSize+1 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if d := extract.Markdown("big.md", data); len(d.Findings) != 1 || d.Findings[0].Rule != "too-large" {
		t.Errorf("%v", d.Findings)
	}
}

func TestUnreadableFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.md", "")
	write(t, dir, "closed/b.md", "")
	if err := errors.Join(os.Chmod(filepath.Join(dir, "closed"), 0), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		// Root reads everything: this thread is another user for files.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
	}
	files, findings, err := Files(t.Context(), dir, Options{})
	if os.Geteuid() == 0 {
		err = errors.Join(err, unix.Setfsuid(0))
	}
	err = errors.Join(err, os.Chmod(filepath.Join(dir, "closed"), 0o755)) // so that it can be removed
	if err != nil || len(files) != 1 || len(findings) != 1 || findings[0].Path != "closed" || findings[0].Message != "It can't be read: permission denied." {
		t.Error(files, findings, err)
	}
}

// repository makes a Git repository with a branch that left main.
func repository(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git isn't there:", err)
	}
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	run("init", "-q", "-b", "main")
	for _, name := range []string{"docs/same.md", "docs/committed.md", "docs/worktree.md", "docs/gone.md", "docs/moved.md", "other/changed.md"} {
		write(t, dir, name, "one\n")
	}
	write(t, dir, ".gitignore", "ignored.md\n")
	run("add", ".")
	run("commit", "-qm", "one")
	run("checkout", "-qb", "branch")
	write(t, dir, "docs/committed.md", "two\n")
	write(t, dir, "other/changed.md", "two\n")
	run("rm", "-q", "docs/gone.md")
	run("mv", "docs/moved.md", "docs/new\nname.md")
	run("commit", "-qam", "two")
	// What main does meanwhile isn't the branch's.
	run("checkout", "-q", "main")
	write(t, dir, "docs/same.md", "main\n")
	run("commit", "-qam", "three")
	run("checkout", "-q", "branch")
	write(t, dir, "docs/worktree.md", "two\n")
	write(t, dir, "docs/中文.md", "new\n")
	write(t, dir, "docs/ignored.md", "new\n")
	return dir
}

func TestChangedSince(t *testing.T) {
	dir := repository(t)
	want := []string{"committed.md", "new\nname.md", "worktree.md", "中文.md"}
	if got := list(t, filepath.Join(dir, "docs"), Options{ChangedSince: "main"}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := list(t, dir, Options{ChangedSince: "main"}); len(got) != 5 || got[4] != "other/changed.md" {
		t.Errorf("%q", got)
	}
	if got := list(t, filepath.Join(dir, "docs/same.md"), Options{ChangedSince: "main"}); len(got) != 0 {
		t.Errorf("%q", got)
	}
	// As in a hook, whose variables are about another folder.
	t.Setenv("GIT_DIR", "nowhere")
	t.Setenv("GIT_INDEX_FILE", "nowhere")
	if got := list(t, filepath.Join(dir, "docs"), Options{ChangedSince: "main"}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestChangedSinceErrors(t *testing.T) {
	dir := repository(t)
	bare := t.TempDir()
	write(t, bare, "a.md", "")
	made := filepath.Join(dir, "made")
	for _, c := range []struct{ root, revision, want string }{
		{bare, "main", "not a git repository"},
		{dir, "no-such-branch", "fetch it first"},
		{dir, "--output=" + made, "git:"},
		{dir, "-h", "git:"},
	} {
		_, _, err := Files(t.Context(), c.root, Options{ChangedSince: c.revision})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.revision, err, c.want)
		}
	}
	if _, err := os.Stat(made); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the revision was taken for an option:", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, _, err := Files(t.Context(), dir, Options{ChangedSince: "main"}); err == nil || !strings.Contains(err.Error(), "install it") {
		t.Error(err)
	}
}
