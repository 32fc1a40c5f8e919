package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

var marks = &Block{Begin: "# >>> labctl", End: "# <<< labctl"}

// box is a machine with files of the user's.
func box(t *testing.T) machine.Machine {
	t.Helper()
	m := machine.Machine{Root: t.TempDir()}
	old := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	for path, f := range map[string]struct {
		text string
		mode fs.FileMode
	}{
		"/etc/k3s/base.tmpl":   {"the user's template\n", 0o640},
		"/etc/k3s/registries":  {"the user's registries\n", 0o600},
		"/usr/local/bin/other": {"#!/bin/sh\n", 0o755},
		"/var/lib/hostname":    {"box\n", 0o644},
	} {
		at := m.Path(path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(at, old, old); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// snapshot is everything below the machine's root: content, mode and, of
// files, the time.
func snapshot(t *testing.T, m machine.Machine) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(m.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", strings.TrimPrefix(path, m.Root), info.Mode())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %s %q", info.ModTime().UTC().Format(time.RFC3339Nano), text)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// installed stands for what the installer makes, and its uninstall script
// takes: it also takes the user's files in its folder.
const installed = "/usr/local/bin/k3s"

// up does one of each change, as the provider does.
func up(m machine.Machine, fault func() error) error {
	l, err := Open(m)
	if errors.Is(err, fs.ErrNotExist) {
		l, err = New(m, "lab"), nil
	}
	if err != nil {
		return err
	}
	l.fault = fault
	steps := []func() error{
		func() error { return l.Keep("/etc/k3s/registries") },
		func() error {
			_, err := l.Put(Write{Path: "/etc/k3s/config.d/50-labctl.yaml", Mode: 0o600, Content: Content{Bytes: []byte("disable\n")}})
			return err
		},
		func() error {
			if len(l.Entries(K3s)) > 0 {
				return nil
			}
			return l.Record(Entry{Kind: K3s, Path: installed})
		},
		func() error { return l.effect(func() error { return os.WriteFile(m.Path(installed), nil, 0o755) }) },
		l.Finish,
		func() error { return l.Own("/opt/labctl") },
		func() error { return l.Expect("/run/crun") },
		func() error { return l.effect(func() error { return os.MkdirAll(m.Path("/opt/labctl/abc"), 0o755) }) },
		func() error {
			_, err := l.Put(Write{Path: "/usr/local/bin/labctl-runsc", Mode: 0o755, Content: Content{Bytes: []byte("#!/bin/sh\n")}})
			return err
		},
		func() error {
			_, err := l.Put(Write{Path: "/etc/k3s/base.tmpl", Content: Content{Bytes: []byte("the user's template\n\n# >>> labctl\nx\n# <<< labctl\n")}, Restart: true, Block: marks})
			return err
		},
		l.Restarted,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// down takes all back; restarts counts how often K3s would be restarted.
func down(m machine.Machine, fault func() error, restarts *int) ([]Left, error) {
	l, err := Open(m)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Sweep(m)
	}
	if err != nil {
		return nil, err
	}
	l.fault = fault
	left, err := l.Undo(context.Background(), func(_ context.Context, e Entry) error {
		if e.Kind != K3s {
			return fmt.Errorf("unknown change %q", e.Kind)
		}
		// An uninstall script takes whole folders.
		return errors.Join(os.RemoveAll(m.Path(e.Path)), os.RemoveAll(m.Path("/etc/k3s/registries")))
	})
	if err != nil {
		return left, err
	}
	if l.RestartDue() {
		*restarts++
		if err := l.Restarted(); err != nil {
			return left, err
		}
	}
	return left, l.Close(left)
}

var errKilled = errors.New("killed")

// killAfter is a fault at the n-th point; it counts the points in *points.
func killAfter(n int, points *int) func() error {
	return func() error {
		*points++
		if *points == n {
			return errKilled
		}
		return nil
	}
}

func TestUpDown(t *testing.T) {
	m := box(t)
	before := snapshot(t, m)
	for range 2 {
		if err := up(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := Open(m); err != nil || l.Cluster() != "lab" || l.RestartDue() {
		t.Errorf("ledger after up: %+v, %v", l, err)
	}
	restarts := 0
	left, err := down(m, nil, &restarts)
	if err != nil || len(left) > 0 || restarts != 1 {
		t.Errorf("left %v, error %v, %d restarts", left, err, restarts)
	}
	if after := snapshot(t, m); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestKilled kills the process after every single effect of up, then either
// takes all back at once or brings it up first; and the same for down.
func TestKilled(t *testing.T) {
	points := 0
	if err := up(box(t), killAfter(0, &points)); err != nil {
		t.Fatal(err)
	}
	if points < 20 {
		t.Fatalf("only %d points at which to be killed", points)
	}
	ways := map[string]func(t *testing.T, m machine.Machine, n int){
		"up killed, down": func(t *testing.T, m machine.Machine, n int) {
			points := 0
			if err := up(m, killAfter(n, &points)); n <= points && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
		},
		"up killed, up, down": func(t *testing.T, m machine.Machine, n int) {
			points := 0
			if err := up(m, killAfter(n, &points)); n <= points && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if err := up(m, nil); err != nil {
				t.Fatal(err)
			}
		},
		"up, down killed, down": func(t *testing.T, m machine.Machine, n int) {
			if err := up(m, nil); err != nil {
				t.Fatal(err)
			}
			points, restarts := 0, 0
			if _, err := down(m, killAfter(n, &points), &restarts); n <= points && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
		},
		"up, down killed, up, down": func(t *testing.T, m machine.Machine, n int) {
			if err := up(m, nil); err != nil {
				t.Fatal(err)
			}
			points, restarts := 0, 0
			if _, err := down(m, killAfter(n, &points), &restarts); n <= points && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if err := up(m, nil); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= points+10; n++ {
				m := box(t)
				before := snapshot(t, m)
				way(t, m, n)
				restarts := 0
				left, err := down(m, nil, &restarts)
				if err != nil || len(left) > 0 {
					t.Fatalf("killed at %d: left %v, error %v", n, left, err)
				}
				if after := snapshot(t, m); after != before {
					t.Fatalf("killed at %d; before:\n%s\nafter:\n%s", n, before, after)
				}
			}
		})
	}
}

// TestRestartDue is a restart that K3s still needs after a kill.
func TestRestartDue(t *testing.T) {
	m := box(t)
	l := New(m, "lab")
	points := 0
	l.fault = killAfter(7, &points) // before the file itself is written
	w := Write{Path: "/etc/k3s/base.tmpl", Content: Content{Bytes: []byte("new\n")}, Restart: true}
	_, err := l.Put(w)
	if !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	if l, err = Open(m); err != nil || !l.RestartDue() {
		t.Fatalf("the ledger doesn't say that a restart is due: %v", err)
	}
	if _, err := l.Put(w); err != nil {
		t.Fatal(err)
	}
	if err := l.Restarted(); err != nil {
		t.Fatal(err)
	}
	if changed, err := l.Put(w); changed || err != nil || l.RestartDue() {
		t.Errorf("the same content again: changed %v, due %v, error %v", changed, l.RestartDue(), err)
	}
}

func TestOthersChanges(t *testing.T) {
	const tmpl = "/etc/k3s/base.tmpl"
	for _, c := range []struct {
		name   string
		change func(m machine.Machine) error
		path   string
		want   string // the file after down; "-" if there is none
		why    string // what is said of it
	}{
		{"a file of labctl's that was changed", func(m machine.Machine) error {
			return os.WriteFile(m.Path("/usr/local/bin/labctl-runsc"), []byte("mine\n"), 0o755)
		}, "/usr/local/bin/labctl-runsc", "mine\n", "so it stays"},
		{"a file of labctl's that is gone", func(m machine.Machine) error {
			return os.Remove(m.Path("/usr/local/bin/labctl-runsc"))
		}, "/usr/local/bin/labctl-runsc", "-", ""},
		{"a template with more in it", func(m machine.Machine) error {
			text, err := os.ReadFile(m.Path(tmpl))
			if err != nil {
				return err
			}
			return os.WriteFile(m.Path(tmpl), append(text, "more\n"...), 0o640)
		}, tmpl, "the user's template\nmore\n", "only labctl's block was cut out"},
		{"a template without the block", func(m machine.Machine) error {
			return os.WriteFile(m.Path(tmpl), []byte("other\n"), 0o640)
		}, tmpl, "other\n", "as it was before labctl it is in /var/lib/labctl/backup/"},
		{"a template that is gone", func(m machine.Machine) error {
			return os.Remove(m.Path(tmpl))
		}, tmpl, "-", "somebody removed it"},
		{"a template that was put back", func(m machine.Machine) error {
			return os.WriteFile(m.Path(tmpl), []byte("the user's template\n"), 0o640)
		}, tmpl, "the user's template\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := box(t)
			if err := errors.Join(up(m, nil), c.change(m)); err != nil {
				t.Fatal(err)
			}
			restarts := 0
			left, err := down(m, nil, &restarts)
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, l := range left {
				said += l.String() + "\n"
				if l.Backup != "" {
					if text, err := m.ReadFile(l.Backup); err != nil || string(text) != "the user's template\n" {
						t.Errorf("backup: %q, %v", text, err)
					}
				}
			}
			if (c.why == "") != (said == "") || !strings.Contains(said, c.why) {
				t.Errorf("said %q, want %q", said, c.why)
			}
			got, err := m.ReadFile(c.path)
			if errors.Is(err, fs.ErrNotExist) {
				got, err = []byte("-"), nil
			}
			if err != nil || string(got) != c.want {
				t.Errorf("the file is %q (%v), want %q", got, err, c.want)
			}
			if _, err := m.ReadFile(Path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the ledger is still there: %v", err)
			}
		})
	}
}

// TestChangedBetween is a template that the user edits between two ups.
func TestChangedBetween(t *testing.T) {
	m := box(t)
	const tmpl = "/etc/k3s/base.tmpl"
	if err := up(m, nil); err != nil {
		t.Fatal(err)
	}
	edited := "first\nthe user's template\n\n# >>> labctl\nx\n# <<< labctl\n"
	if err := os.WriteFile(m.Path(tmpl), []byte(edited), 0o640); err != nil {
		t.Fatal(err)
	}
	l, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Put(Write{Path: tmpl, Content: Content{Bytes: []byte(strings.Replace(edited, "x", "y", 1))}, Block: marks, Restart: true}); err != nil {
		t.Fatal(err)
	}
	restarts := 0
	if _, err := down(m, nil, &restarts); err != nil || restarts != 1 {
		t.Fatal(err, restarts)
	}
	if got, err := m.ReadFile(tmpl); err != nil || string(got) != "first\nthe user's template\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRevert(t *testing.T) {
	m := box(t)
	if err := up(m, nil); err != nil {
		t.Fatal(err)
	}
	l, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Revert("/etc/k3s/base.tmpl"); err != nil || !l.RestartDue() {
		t.Errorf("error %v, restart due %v", err, l.RestartDue())
	}
	if got, err := m.ReadFile("/etc/k3s/base.tmpl"); err != nil || string(got) != "the user's template\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"half a file":        {`{"version": 1, "clus`, "move /var/lib/labctl away"},
		"empty":              {"", "can't be read"},
		"a newer labctl's":   {`{"version": 2, "cluster": "lab", "entries": []}`, "its version is 2"},
		"an unknown field":   {`{"version": 1, "cluster": "lab", "entries": [{"kind": "file", "sudo": true}]}`, "unknown field"},
		"another's entirely": {`[]`, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			m := box(t)
			if err := os.MkdirAll(m.Path(Dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(m.Path(Path), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(m); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestPutRefuses(t *testing.T) {
	m := box(t)
	l := New(m, "lab")
	if err := os.Mkdir(m.Path("/etc/k3s/folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Put(Write{Path: "/etc/k3s/folder", Content: Content{Bytes: []byte("x")}}); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a folder: %v", err)
	}
	// What a symbolic link points to is written, and the link stays.
	if err := os.Symlink("base.tmpl", m.Path("/etc/k3s/link")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Put(Write{Path: "/etc/k3s/link", Content: Content{Bytes: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	if got, err := m.ReadFile("/etc/k3s/base.tmpl"); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	if info, err := os.Lstat(m.Path("/etc/k3s/link")); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
}

// TestKeepLarge is an archive that another change's way back takes: it is
// linked, not copied, and comes back.
func TestKeepLarge(t *testing.T) {
	m := box(t)
	const images = "/var/lib/k3s/images.tar"
	if err := os.MkdirAll(m.Path("/var/lib/k3s"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.Path(images), make([]byte, linked), 0o640); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(m.Path(images))
	if err != nil {
		t.Fatal(err)
	}
	l := New(m, "lab")
	if err := errors.Join(l.Keep(images), l.Record(Entry{Kind: K3s})); err != nil {
		t.Fatal(err)
	}
	left, err := l.Undo(t.Context(), func(context.Context, Entry) error { return os.RemoveAll(m.Path("/var/lib/k3s")) })
	if err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	after, err := os.Stat(m.Path(images))
	if err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) || after.Mode() != before.Mode() {
		t.Errorf("%v, %v", after, err)
	}
	if err := l.Close(left); err != nil {
		t.Fatal(err)
	}
}
