package nodeimage

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

// release is a folder that looks like a release of gVisor.
func release(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"runsc", "containerd-shim-runsc-v1"} {
		sum := sha512.Sum512([]byte(name))
		for file, text := range map[string]string{name: name, name + ".sha512": fmt.Sprintf("%x  %s\n", sum, name)} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// Rules of the fake engine.
const (
	hasNothing = `true`
	hasBase    = `case "$*" in *node-base:*) echo sha256:abc;; esac`
	hasAll     = `echo sha256:abc`
	noRegistry = `echo "dial tcp: lookup r.example.org: no such host" >&2; exit 125`
	containers = `case "$*" in
	*config.toml*) printf 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n';;
	*) cat >/dev/null </dev/null;;
	esac`
)

func TestEnsure(t *testing.T) {
	noApt := func(context.Context) (*debian.Apt, error) { return nil, errors.New("the machine has no apt") }
	tests := []struct {
		name    string
		rules   map[string]string
		source  Source
		mirror  string
		base    string
		want    Source
		wantErr string
		commits int
		pulls   int
	}{
		{name: "is there: neither network nor build", source: Auto, want: Registry,
			rules: map[string]string{"images": hasAll}},
		{name: "registry answers", source: Auto, want: Registry, commits: 1, pulls: 1,
			rules: map[string]string{"images": hasNothing, "image": "exit 1", "exec": containers}},
		{name: "pulled before", source: Auto, want: Registry, commits: 1,
			rules: map[string]string{"images": hasNothing, "image": "exit 0", "exec": containers}},
		{name: "no registry, auto", source: Auto, want: Debian, commits: 1, pulls: 1,
			rules: map[string]string{"images": hasBase, "image": "exit 1", "pull": noRegistry, "exec": containers}},
		{name: "no registry, but wanted", source: Registry, pulls: 1,
			rules:   map[string]string{"images": hasBase, "image": "exit 1", "pull": noRegistry, "exec": containers},
			wantErr: "no such host"},
		{name: "no registry, auto, but a base is named", source: Auto, base: "127.0.0.1:5000/node:1", pulls: 1,
			rules:   map[string]string{"images": hasBase, "image": "exit 1", "pull": noRegistry},
			wantErr: "no such host"},
		{name: "debian is not asked for the registry", source: Debian, want: Debian, commits: 1,
			rules: map[string]string{"images": hasBase, "exec": containers}},
		{name: "packages can't be installed", source: Debian,
			rules:   map[string]string{"images": hasBase, "exec": `case "$*" in *apt-get*) echo "E: no space left on device" >&2; exit 100;; esac`},
			wantErr: "no space left on device"},
		{name: "a base that breaks is not hidden by the other source", source: Auto, pulls: 1,
			rules:   map[string]string{"images": hasBase, "image": "exit 1", "exec": `exit 1`},
			wantErr: "source registry"},
		{name: "the mirror of the flag fails", source: Debian, mirror: "http://m.example.org/debian",
			rules:   map[string]string{"images": hasBase, "exec": containers},
			wantErr: "the machine has no apt"},
		{name: "containerd of another kind", source: Debian,
			rules:   map[string]string{"images": hasBase, "exec": `case "$*" in *config.toml*) echo 'version = 1';; esac`},
			wantErr: "version"},
		{name: "unknown source", source: "cloud", wantErr: "known: auto, registry, debian",
			rules: map[string]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, tt.rules)
			b := testBuilder(t, f, Options{Source: tt.source, DebianMirror: tt.mirror, BaseImage: tt.base, GVisorDir: release(t)})
			b.apt = noApt
			got, err := b.ensure(context.Background())
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if got.Source != tt.want {
				t.Errorf("source %q, want %q", got.Source, tt.want)
			}
			commits := f.calls(t, "commit")
			if len(commits) != tt.commits || len(f.calls(t, "pull")) != tt.pulls {
				t.Errorf("%d commits and %d pulls, want %d and %d", len(commits), len(f.calls(t, "pull")), tt.commits, tt.pulls)
			}
			for _, c := range commits {
				if !strings.HasSuffix(c, got.Reference) || !strings.Contains(c, "LABEL "+Label+"=") {
					t.Errorf("commit %q, want the label and %s", c, got.Reference)
				}
			}
			if started, removed := f.calls(t, "run "), f.calls(t, "rm --force"); len(started) != len(removed) {
				t.Errorf("%d build containers started and %d removed", len(started), len(removed))
			}
			if left, _ := filepath.Glob(locksDir(b.cache.Dir) + "/*"); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestInterrupted: wherever a build is interrupted, its container goes, no tag
// is set, and the next run makes the image.
func TestInterrupted(t *testing.T) {
	for _, step := range []string{"apt-get", "config.toml", "tar --extract", "commit"} {
		t.Run(step, func(t *testing.T) {
			const wait = "touch $0.waits; exec sleep 60"
			f := newFake(t, map[string]string{
				"images": hasBase,
				"exec":   `if [ ! -e "$0.again" ]; then case "$*" in *"` + step + `"*) ` + wait + `;; esac; fi` + "\n" + containers,
				"commit": `if [ ! -e "$0.again" ] && [ "` + step + `" = commit ]; then ` + wait + "; fi",
			})
			b := testBuilder(t, f, Options{Source: Debian, GVisorDir: release(t)})
			b.apt = func(context.Context) (*debian.Apt, error) { return nil, errors.New("the machine has no apt") }
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			go func() {
				for ctx.Err() == nil {
					if _, err := os.Stat(f.engine.Path + ".waits"); err == nil {
						cancel()
					}
					time.Sleep(5 * time.Millisecond)
				}
			}()
			_, err := b.ensure(ctx)
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the next run goes on") {
				t.Errorf("error %v", err)
			}
			if n := len(f.calls(t, "rm --force")); n != 1 {
				t.Errorf("%d containers removed, want 1", n)
			}
			if err := os.WriteFile(f.engine.Path+".again", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			img, err := b.ensure(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			commits := f.calls(t, "commit")
			if last := commits[len(commits)-1]; !strings.HasSuffix(last, img.Reference) {
				t.Errorf("last commit %q, want %s", last, img.Reference)
			}
		})
	}
}

// TestTwoAtOnce: two runs that want the same image build it once.
func TestTwoAtOnce(t *testing.T) {
	f := newFake(t, map[string]string{
		"images": `case "$*" in *node-base:*) echo sha256:abc;; *) if [ -e "$0.made" ]; then echo sha256:abc; fi;; esac`,
		"exec":   containers,
		"commit": `sleep 0.2; touch "$0.made"`,
	})
	cache, gvisor := t.TempDir(), release(t)
	var wg sync.WaitGroup
	for range 3 {
		b := testBuilder(t, f, Options{Source: Debian, GVisorDir: gvisor})
		b.cache.Dir = cache
		b.apt = func(context.Context) (*debian.Apt, error) { return nil, errors.New("the machine has no apt") }
		wg.Go(func() {
			if _, err := b.ensure(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(f.calls(t, "commit")); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

// TestNodeDependsOnInputs: what decides the image decides its tag.
func TestNodeDependsOnInputs(t *testing.T) {
	base := func() *builder { return testBuilder(t, newFake(t, nil), Options{}) }
	tests := []struct {
		name   string
		source Source
		change func(*builder)
		same   bool
	}{
		{"nothing", Debian, func(*builder) {}, true},
		{"sources of the images", Debian, func(b *builder) { b.src.Hash = "other" }, false},
		{"packages", Debian, func(b *builder) { b.pins.Debian.Node = append(b.pins.Debian.Node, "vim") }, false},
		{"suite", Debian, func(b *builder) { b.pins.Debian.Suite = "forky" }, false},
		{"gVisor", Debian, func(b *builder) { b.opts.GVisorDir = release(t) }, false},
		{"the mirror serves the same packages", Debian, func(b *builder) { b.opts.DebianMirror = "http://m.example.org" }, true},
		{"the base image is no input of the other way", Debian, func(b *builder) { b.opts.BaseImage = "127.0.0.1:5000/node:1" }, true},
		{"base image", Registry, func(b *builder) { b.opts.BaseImage = "127.0.0.1:5000/node:1" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, _, err := base().node(tt.source)
			if err != nil {
				t.Fatal(err)
			}
			b := base()
			tt.change(b)
			after, _, err := b.node(tt.source)
			if err != nil {
				t.Fatal(err)
			}
			if (before == after) != tt.same {
				t.Errorf("tags %s and %s, same should be %v", before, after, tt.same)
			}
		})
	}
}

func TestPull(t *testing.T) {
	tests := []struct {
		name     string
		rule     string
		quick    bool
		patience time.Duration
		wantErr  string
	}{
		{"answers", `echo "Getting image source signatures"`, true, time.Minute, ""},
		{"is silent", `exec sleep 60`, true, 50 * time.Millisecond, "no answer"},
		{"refuses", noRegistry, true, time.Minute, "no such host"},
		{"answers and is slow, podman", `echo "Copying blob sha256:1" >&2; sleep 1`, true, 500 * time.Millisecond, ""},
		{"answers and is slow, docker", `echo "docker.io/kindest/node@sha256:1: Pulling from kindest/node"; sleep 1`, true, 500 * time.Millisecond, ""},
		{"is waited for where there is no other way", `sleep 1`, false, time.Millisecond, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, map[string]string{"image": "exit 1", "pull": tt.rule})
			b := testBuilder(t, f, Options{})
			b.patience = tt.patience
			ref, err := b.pull(context.Background(), tt.quick)
			if tt.wantErr != "" {
				if !errors.Is(err, errPull) || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one of pulling with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || !strings.Contains(ref, "kindest/node@sha256:") {
				t.Errorf("%q, %v", ref, err)
			}
		})
	}
}

func TestQualified(t *testing.T) {
	const digest = "@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
	tests := []struct{ in, suffix, wantErr string }{
		{"kindest/node:v1.37.0" + digest, "/kindest/node" + digest, ""},
		{"kindest/node:v1.37.0", "/kindest/node:v1.37.0", ""},
		{"kindest/node", "/kindest/node:latest", ""},
		{"127.0.0.1:5000/kindest/node:x" + digest, "127.0.0.1:5000/kindest/node" + digest, ""},
		{"Kindest/Node", "", "must be lowercase"},
		{"", "", "invalid reference"},
	}
	for _, tt := range tests {
		got, err := qualified(tt.in)
		if tt.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%q: error %v, want one with %q", tt.in, err, tt.wantErr)
			}
			continue
		}
		if err != nil || !strings.HasSuffix(got, tt.suffix) || strings.HasPrefix(got, "/") {
			t.Errorf("%q: %q, %v; want …%s", tt.in, got, err, tt.suffix)
		}
	}
}

func TestLoopback(t *testing.T) {
	for ref, want := range map[string]bool{
		"127.0.0.1:5000/kindest/node@sha256:1": true,
		"localhost:5000/kindest/node":          true,
		"localhost/kindest/node":               true,
		"[::1]:5000/kindest/node":              true,
		"r.example.org/kindest/node":           false,
		"10.0.0.1:5000/kindest/node":           false,
		"127.0.0.1.example.org/kindest/node":   false,
	} {
		if got := loopback(ref); got != want {
			t.Errorf("%s: %v, want %v", ref, got, want)
		}
	}
}

func TestRemoveStale(t *testing.T) {
	const gone, alive = prefix + "gone", prefix + "alive"
	tests := []struct {
		name    string
		rules   map[string]string
		wantErr string
		left    []string // lock files
	}{
		{"both there", nil, "", []string{alive}},
		{"podman, nothing there", map[string]string{
			"rm":  `echo "Error: no container with name or ID \"$3\" found: no such container" >&2; exit 1`,
			"rmi": `echo "Error: $1: image not known" >&2; exit 1`}, "", []string{alive}},
		{"docker, nothing there", map[string]string{
			"rm":  `echo "Error response from daemon: No such container: $3" >&2; exit 1`,
			"rmi": `echo "Error response from daemon: No such image: $1" >&2; exit 1`}, "", []string{alive}},
		{"engine fails", map[string]string{"rm": `echo "Error: storage is locked" >&2; exit 125`}, "storage is locked", []string{alive, gone}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, tt.rules)
			cache := t.TempDir()
			if err := os.MkdirAll(locksDir(cache), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(locksDir(cache), gone+".lock"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			unlock, err := filelock.TryLock(filepath.Join(locksDir(cache), alive+".lock"))
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			err = removeStale(f.engine, cache)
			if (err != nil) != (tt.wantErr != "") || (err != nil && !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if calls := f.calls(t, "rm"); len(calls) == 0 || strings.Contains(strings.Join(calls, " "), alive) {
				t.Errorf("calls %q, want those for %s alone", calls, gone)
			}
			var left []string
			locks, _ := filepath.Glob(locksDir(cache) + "/*.lock")
			for _, l := range locks {
				left = append(left, strings.TrimSuffix(filepath.Base(l), ".lock"))
			}
			if !slices.Equal(left, tt.left) {
				t.Errorf("locks left: %q, want %q", left, tt.left)
			}
		})
	}
}
