// Package debian gets packages and root file systems of a Debian release
// through an apt of its own: its configuration, lists and cache lie below
// labctl's cache, and the machine's apt state is never touched. What it gets
// is checked by apt against the Debian archive's signatures. Which mirror and
// which proxies to use comes from the machine's own apt configuration.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

// Options says how to set up an Apt.
type Options struct {
	// Dir is the folder for configuration, lists and cache; it is made.
	Dir string
	// Suite is the release's code name, such as trixie.
	Suite string
	// Architecture is Debian's name of the packages' architecture, such as
	// arm64; "" is the machine's own.
	Architecture string
	// Mirror is the archive's URI; "" takes it from the machine's apt sources.
	Mirror string
	// Log gets everything that apt prints; may be nil.
	Log io.Writer
}

// Apt is an apt of labctl's own for one release. It is safe for concurrent
// use, by several processes too.
type Apt struct {
	dir, suite, keyring string
	architecture        string
	mirror              Mirror
	acquire             []string
	log                 io.Writer
	mu                  sync.Mutex
}

// keyrings are where Debian's package debian-archive-keyring puts the keys,
// in the releases before and since trixie.
var keyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.gpg",
	"/usr/share/keyrings/debian-archive-keyring.pgp",
}

// Open finds a mirror that serves the suite, signed by Debian, and fetches
// its indexes.
func Open(ctx context.Context, o Options) (*Apt, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, fmt.Errorf("packages of Debian %s are fetched with apt, which is not on this machine: %w", o.Suite, err)
	}
	a := &Apt{dir: o.Dir, suite: o.Suite, log: o.Log, architecture: o.Architecture}
	if a.architecture == "" {
		a.architecture = machineArchitecture(ctx)
	}
	for _, k := range keyrings {
		if _, err := os.Stat(k); err == nil {
			a.keyring = k
			break
		}
	}
	if a.keyring == "" {
		return nil, fmt.Errorf("no Debian archive keys (%s); install the package debian-archive-keyring", strings.Join(keyrings, ", "))
	}
	dump, err := process.Run(ctx, process.Command{Argv: []string{"apt-config", "dump"}})
	if err != nil {
		return nil, err
	}
	a.acquire = AcquireOptions(string(dump.Stdout))

	mirrors := []Mirror{{URI: strings.TrimRight(o.Mirror, "/")}}
	if o.Mirror == "" {
		sources, err := MachineSources("/")
		if err != nil {
			return nil, err
		}
		if mirrors = Mirrors(sources); len(mirrors) == 0 {
			return nil, errors.New("the machine's apt sources name no Debian archive; name one with --debian-mirror (the URI below which dists/ and pool/ lie)")
		}
	}
	var failed []error
	for _, m := range mirrors {
		a.mirror = m
		err := a.locked(ctx, a.update)
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failed = append(failed, fmt.Errorf("%s: %w", m.URI, err))
	}
	return nil, fmt.Errorf("no archive serves Debian %s with a valid signature; name one with --debian-mirror: %w", o.Suite, errors.Join(failed...))
}

// Mirror is the archive in use.
func (a *Apt) Mirror() Mirror { return a.mirror }

// Keyring is the path of the keys that the archive's signature is checked by.
func (a *Apt) Keyring() string { return a.keyring }

// Sources gives the archive as lines of sources.list(5) whose signatures are
// checked by the keyring at the given path.
func (a *Apt) Sources(keyring string) []string {
	line := func(kind, uri, suite string) string {
		return fmt.Sprintf("%s [signed-by=%s] %s %s main", kind, keyring, uri, suite)
	}
	out := []string{line("deb", a.mirror.URI, a.suite)}
	if a.mirror.Security != "" {
		out = append(out, line("deb", a.mirror.Security, a.suite+"-security"))
	}
	return out
}

// Acquire gives the options by which the machine's apt reaches archives, as
// lines of apt.conf(5).
func (a *Apt) Acquire() []string { return slices.Clone(a.acquire) }

// locked runs f while no other process uses the same folder. apt itself
// fails at once when its lists are locked.
func (a *Apt) locked(ctx context.Context, f func(context.Context) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return err
	}
	unlock, err := filelock.Lock(ctx, filepath.Join(a.dir, "labctl.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	return f(ctx)
}

// update writes the configuration and fetches the indexes.
func (a *Apt) update(ctx context.Context) error {
	for _, d := range []string{"lists/partial", "cache/archives/partial", "state"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	sources := append(a.Sources(a.keyring), fmt.Sprintf("deb-src [signed-by=%s] %s %s main", a.keyring, a.mirror.URI, a.suite))
	conf := append(a.Acquire(),
		`Dir::Etc::SourceList "`+filepath.Join(a.dir, "sources.list")+`";`,
		`Dir::Etc::SourceParts "/dev/null";`,
		`Dir::Etc::Main "/dev/null";`,
		`Dir::Etc::Parts "/dev/null";`,
		`Dir::Etc::Preferences "/dev/null";`,
		`Dir::Etc::PreferencesParts "/dev/null";`,
		`Dir::State "`+filepath.Join(a.dir, "state")+`";`,
		`Dir::State::Lists "`+filepath.Join(a.dir, "lists")+`";`,
		`Dir::State::Status "`+filepath.Join(a.dir, "state", "status")+`";`,
		`Dir::Cache "`+filepath.Join(a.dir, "cache")+`";`,
		`Dir::Log "/dev/null";`,
		`APT::Sandbox::User "root";`, // the cache may lie where _apt can't reach
		`APT::Architecture "`+a.architecture+`";`,
		`APT::Architectures { "`+a.architecture+`"; };`,
		`APT::Update::Error-Mode "any";`, // else a failed index is only a warning
		`Acquire::Languages "none";`,
	)
	for name, lines := range map[string][]string{"sources.list": sources, "apt.conf": conf, "state/status": nil} {
		if err := writeLines(filepath.Join(a.dir, name), lines); err != nil {
			return err
		}
	}
	_, err := a.run(ctx, "", "apt-get", "-q", "update")
	return err
}

func machineArchitecture(ctx context.Context) string {
	r, err := process.Run(ctx, process.Command{Argv: []string{"dpkg", "--print-architecture"}})
	if err != nil {
		return "amd64"
	}
	return strings.TrimSpace(string(r.Stdout))
}

func writeLines(path string, lines []string) error {
	return os.WriteFile(path, []byte(strings.Join(append(slices.Clone(lines), ""), "\n")), 0o644)
}

// run runs one of apt's programs with the private configuration.
func (a *Apt) run(ctx context.Context, dir string, argv ...string) (process.Result, error) {
	return process.Run(ctx, process.Command{
		Argv: argv, Dir: dir, Log: a.log,
		Env: []string{"APT_CONFIG=" + filepath.Join(a.dir, "apt.conf"), "LC_ALL=C"},
	})
}

// Download fetches the named packages, without what they depend on, into dir
// and returns the paths of the .deb files in the order of the names. apt has
// checked each against the signed index.
func (a *Apt) Download(ctx context.Context, dir string, packages ...string) ([]string, error) {
	var out []string
	err := a.locked(ctx, func(ctx context.Context) error {
		if _, err := a.run(ctx, dir, append([]string{"apt-get", "-q", "download"}, packages...)...); err != nil {
			return err
		}
		for _, p := range packages {
			found, err := filepath.Glob(filepath.Join(dir, p+"_*.deb"))
			if err != nil {
				return err
			}
			if len(found) != 1 {
				return fmt.Errorf("apt-get download %s left %d files in %s, want 1", p, len(found), dir)
			}
			out = append(out, found[0])
		}
		return nil
	})
	return out, err
}

// Depends gives the names of the packages that the named one depends on
// directly, such as the kernel behind linux-image-cloud-amd64.
func (a *Apt) Depends(ctx context.Context, name string) ([]string, error) {
	var out []string
	err := a.locked(ctx, func(ctx context.Context) error {
		r, err := a.run(ctx, "", "apt-cache", "depends", "--important", name)
		for line := range strings.Lines(string(r.Stdout)) {
			if dep, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
				out = append(out, dep)
			}
		}
		return err
	})
	return out, err
}

// remote is a file of a source package on the mirror.
type remote struct{ uri, name, hash string }

// uri is a line of `apt-get --print-uris`: 'URI' FILE SIZE HASH.
var uri = regexp.MustCompile(`(?m)^'([^']+)' (\S+) \d+ (SHA256:[0-9a-f]{64})$`)

// tarballs picks the tarballs out of what apt-get prints, upstream's first.
func tarballs(printed string) []remote {
	var out []remote
	for _, m := range uri.FindAllStringSubmatch(printed, -1) {
		if strings.Contains(m[2], ".tar.") && !strings.HasSuffix(m[2], ".asc") {
			out = append(out, remote{m[1], m[2], m[3]})
		}
	}
	rank := func(r remote) int {
		if strings.Contains(r.name, ".orig") {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(x, y remote) int { return rank(x) - rank(y) })
	return out
}

// Source fetches the tarballs of a source package into dir, the upstream
// one(s) first, and returns their paths. apt has checked each against the
// signed index of sources. The .dsc is not fetched: mirrors lack it at times,
// and the index has the same hashes.
func (a *Apt) Source(ctx context.Context, dir, name string) ([]string, error) {
	var out []string
	err := a.locked(ctx, func(ctx context.Context) error {
		r, err := a.run(ctx, dir, "apt-get", "-q", "source", "--download-only", "--print-uris", name)
		if err != nil {
			return err
		}
		for _, f := range tarballs(string(r.Stdout)) {
			file := filepath.Join(dir, f.name)
			if _, err := a.run(ctx, dir, helper, "download-file", f.uri, file, f.hash); err != nil {
				return err
			}
			out = append(out, file)
		}
		if len(out) == 0 {
			return fmt.Errorf("the index lists no tarball with a SHA-256 of source package %s", name)
		}
		return nil
	})
	return out, err
}

// helper downloads one file with apt's own methods and checks its hash.
const helper = "/usr/lib/apt/apt-helper"
