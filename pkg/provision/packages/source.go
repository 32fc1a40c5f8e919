package packages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// Places on the machine, all below labctl's folder there.
const (
	dir     = "/var/lib/labctl"
	scratch = dir + "/apt"            // lists of labctl's own while it works
	lock    = dir + "/apt.lock"       // one labctl at a time
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

func withScratch(ctx context.Context, m machine.Machine, f func() error) (err error) {
	if err := os.MkdirAll(m.Path(dir), 0o755); err != nil {
		return fmt.Errorf("labctl's folder on this machine: %w; run labctl as root", err)
	}
	unlock, err := filelock.Lock(ctx, m.Path(lock))
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(m.Path(scratch)), os.Remove(m.Path(lock)))
		unlock()
		_ = os.Remove(m.Path(dir)) // stays unless it is empty
	}()
	if err := os.RemoveAll(m.Path(scratch)); err != nil { // of one that was killed
		return err
	}
	for _, d := range []string{"lists/partial", "archives/partial", "repository"} {
		if err := os.MkdirAll(m.Path(path.Join(scratch, d)), 0o755); err != nil {
			return err
		}
	}
	return f()
}

// repository makes an archive of the .deb files (apt's flat format,
// sources.list(5)), so that apt picks what this machine lacks out of them. It
// is trusted because whoever gave the files has checked them.
func repository(ctx context.Context, m machine.Machine, debs []string) error {
	var index strings.Builder
	for _, deb := range debs {
		fields, err := m.Output(ctx, "dpkg-deb", "--field", deb)
		if err != nil {
			return fmt.Errorf("package file %s: %w", deb, err)
		}
		info, err := os.Stat(m.Path(deb))
		if err != nil {
			return err
		}
		sum, err := sha256File(ctx, m.Path(deb))
		if err != nil {
			return err
		}
		name := filepath.Base(deb)
		if err := os.Symlink(deb, m.Path(path.Join(scratch, "repository", name))); err != nil {
			return err
		}
		fmt.Fprintf(&index, "%s\nFilename: ./%s\nSize: %d\nSHA256: %s\n\n", strings.TrimSpace(fields), name, info.Size(), sum)
	}
	for name, text := range map[string]string{
		"repository/Packages": index.String(),
		"sources.list":        "deb [trusted=yes] file:" + scratch + "/repository ./\n",
	} {
		if err := os.WriteFile(m.Path(path.Join(scratch, name)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
