package debian

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
)

// Root writes a root file system with the packages to a tar file: Debian's
// essential packages and apt, the named ones, and what they depend on. The
// root names no archive and no proxy.
func (a *Apt) Root(ctx context.Context, tar string, packages ...string) error {
	argv := []string{
		"mmdebstrap", "--variant=minbase",
		"--include=" + strings.Join(packages, ","),
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
	}
	return a.mmdebstrap(ctx, argv, tar)
}

// Extract writes only the files of the named packages and of what they depend
// on to a tar file; no package script runs, and there is no dpkg database.
func (a *Apt) Extract(ctx context.Context, tar string, packages ...string) error {
	return a.ExtractWithout(ctx, tar, nil, packages...)
}

// ExtractWithout is Extract without the files whose paths match one of the
// patterns (dpkg(1), --path-exclude).
func (a *Apt) ExtractWithout(ctx context.Context, tar string, omit []string, packages ...string) error {
	argv := []string{"mmdebstrap", "--variant=extract", "--include=" + strings.Join(packages, ",")}
	for _, pattern := range append([]string{"/usr/share/man/*", "/usr/share/locale/*"}, omit...) {
		argv = append(argv, "--dpkgopt=path-exclude="+pattern)
	}
	return a.mmdebstrap(ctx, argv, tar)
}

func (a *Apt) mmdebstrap(ctx context.Context, argv []string, tar string) error {
	if _, err := exec.LookPath(argv[0]); err != nil {
		return fmt.Errorf("root file systems of Debian are made with mmdebstrap, which is not on this machine; `labctl doctor --fix` installs it: %w", err)
	}
	conf := filepath.Join(a.dir, "acquire.conf")
	err := a.locked(ctx, func(context.Context) error {
		return writeLines(conf, a.acquire)
	})
	if err != nil {
		return err
	}
	const inside = "/etc/apt/apt.conf.d/00labctl"
	argv = append(argv,
		// Hooks, not --aptopt, which would stay in the root.
		"--setup-hook=upload "+quote(conf)+" "+inside,
		"--customize-hook=rm -f \"$1\""+inside+" \"$1\"/etc/apt/sources.list",
		a.suite, tar)
	argv = append(argv, a.Sources(a.keyring)...)
	cmd := process.Command{Argv: argv, Log: a.log}
	if os.Geteuid() == 0 {
		// What a killed mmdebstrap leaves lies beside the tar file, where the
		// caller cleans up. Without root it works as another user, who may
		// not reach that folder.
		cmd.Env = []string{"TMPDIR=" + filepath.Dir(tar)}
	}
	_, err = process.Run(ctx, cmd)
	return err
}

// quote makes a string one word for sh(1).
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
