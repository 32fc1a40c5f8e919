package packages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// Places on the machine, all below labctl's folder there.
const (
	dir     = "/var/lib/labctl"
	scratch = dir + "/apt"            // lists and archives of labctl's own
	lock    = dir + "/apt.lock"       // of whoever has scratch
	started = dir + "/apt.unfinished" // there while labctl has dpkg at work
)

// withApt runs f with an apt that gets packages from the .deb files, or else
// from the machine's sources: with the lists that the machine has, and if
// those don't do, with fresh ones, which are labctl's own and go afterwards.
// The machine's lists stay as they are.
func withApt(ctx context.Context, m machine.Machine, debs []string, log progress.Log, f func(apt) error) error {
	if len(debs) == 0 {
		err := f(apt{m: m, log: log.Output()})
		if !errors.Is(err, errSources) {
			return err
		}
		log.Info("The machine's package lists are missing or old; getting fresh ones for labctl alone")
	}
	return withScratch(ctx, m, func() error {
		a := apt{m: m, log: log.Output(), options: private}
		if len(debs) > 0 {
			if err := repository(ctx, m, debs); err != nil {
				return err
			}
			a.options = append(a.options[:len(a.options):len(a.options)], fromRepository...)
		}
		if err := a.run(ctx, "update"); err != nil {
			return err
		}
		err := f(a)
		if errors.Is(err, errSources) && len(debs) > 0 {
			return fmt.Errorf("the .deb files don't fit this machine (are they of its Debian release and architecture?); make the bundle with --suite for it, or give the programs with --runtime-files DIR: %w", err)
		}
		return err
	})
}

var (
	private = []string{
		"Dir::State::Lists=" + scratch + "/lists",
		"Dir::Cache::Archives=" + scratch + "/archives",
		"APT::Sandbox::User=root", // _apt can't write here
		"APT::Update::Error-Mode=any",
		"Acquire::Languages=none",
	}
	fromRepository = []string{
		"Dir::Etc::SourceList=" + scratch + "/sources.list",
		"Dir::Etc::SourceParts=/dev/null",
		"Dir::Etc::Preferences=/dev/null",
		"Dir::Etc::PreferencesParts=/dev/null",
	}
)

// withScratch runs f while the folder scratch is there, empty at first.
func withScratch(ctx context.Context, m machine.Machine, f func() error) (err error) {
	if err := os.MkdirAll(m.Path(dir), 0o755); err != nil {
		return fmt.Errorf("labctl's folder on this machine: %w; run labctl as root", err)
	}
	unlock, err := filelock.Lock(ctx, m.Path(lock))
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, empty(m), os.Remove(m.Path(lock)))
		unlock()
		_ = os.Remove(m.Path(dir)) // stays unless it is empty
	}()
	if err := empty(m); err != nil { // of one that was killed
		return err
	}
	for _, d := range []string{"lists/partial", "archives/partial", "repository"} {
		if err := os.MkdirAll(m.Path(path.Join(scratch, d)), 0o755); err != nil {
			return err
		}
	}
	return f()
}

// empty removes the folder, unless dpkg may have been interrupted: then a
// package that was half unpacked is unpacked from there.
func empty(m machine.Machine) error {
	if marked(m) {
		return nil
	}
	return os.RemoveAll(m.Path(scratch))
}

// clean removes what a killed labctl left.
func clean(ctx context.Context, m machine.Machine) error {
	if _, err := os.Stat(m.Path(scratch)); err != nil {
		return nil
	}
	return withScratch(ctx, m, func() error { return nil })
}

// repository makes an archive of the .deb files, so that apt picks what this
// machine lacks out of them. It is trusted because whoever gave the files has
// checked them.
func repository(ctx context.Context, m machine.Machine, debs []string) error {
	index, err := indexOf(ctx, m, debs)
	if err != nil {
		return err
	}
	folder := path.Join(scratch, "repository")
	for _, deb := range debs {
		err := os.Symlink(deb, m.Path(path.Join(folder, path.Base(deb))))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := os.WriteFile(m.Path(path.Join(folder, "Packages")), index, 0o644); err != nil {
		return err
	}
	return os.WriteFile(m.Path(scratch+"/sources.list"), []byte("deb [trusted=yes] file:"+folder+" ./\n"), 0o644)
}

// indexOf is the index of a folder with the .deb files: apt's flat format
// (sources.list(5), deb822(5)).
func indexOf(ctx context.Context, m machine.Machine, debs []string) ([]byte, error) {
	var index bytes.Buffer
	for _, deb := range debs {
		fields, err := m.Output(ctx, "dpkg-deb", "--field", deb)
		if err != nil {
			return nil, fmt.Errorf("package file %s: %w", deb, err)
		}
		size, sum, err := digest(m.Path(deb))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&index, "%s\nFilename: ./%s\nSize: %d\nSHA256: %x\n\n", strings.TrimSpace(fields), path.Base(deb), size, sum)
	}
	return index.Bytes(), ctx.Err()
}

// digest reads the file in pieces: packages are larger than what a small box
// has to spare.
func digest(file string) (size int64, sum []byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, h.Sum(nil), err
}
