package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
)

// Fix installs the findings' packages with apt and makes their folders, as
// root or through sudo without a password. It is an error if something is
// left that labctl can't fix; Check afterwards says what is still missing.
func Fix(ctx context.Context, findings []Finding, log progress.Log) error {
	var packages []string
	var dirs []string
	for _, f := range findings {
		packages = append(packages, f.Packages...)
		if f.MakeDir != "" {
			dirs = append(dirs, f.MakeDir)
		}
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	prefix, err := become(ctx)
	if err != nil && len(packages)+len(dirs) > 0 {
		var todo []string
		if len(packages) > 0 {
			todo = append(todo, "apt-get install "+strings.Join(packages, " "))
		}
		if len(dirs) > 0 {
			todo = append(todo, "mkdir -p "+strings.Join(dirs, " "))
		}
		return fmt.Errorf("%w; run as root: %s", err, strings.Join(todo, " && "))
	}
	for _, dir := range dirs {
		if err := run(ctx, log, append(prefix, "mkdir", "-p", dir)); err != nil {
			return err
		}
		log.Info("Made %s", dir)
	}
	if len(packages) == 0 {
		return nil
	}
	return aptInstall(ctx, prefix, packages, log)
}

// become is what goes before a command that needs root.
func become(ctx context.Context) ([]string, error) {
	if os.Geteuid() == 0 {
		return nil, nil
	}
	if _, err := process.Run(ctx, process.Command{Argv: []string{"sudo", "-n", "true"}}); err != nil {
		return nil, errors.New("this needs root, and sudo asks for a password")
	}
	return []string{"sudo", "-n"}, nil
}

func aptInstall(ctx context.Context, prefix, packages []string, log progress.Log) (err error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("labctl installs with apt only, which is not on this machine (%s); install %s", runtime.GOOS, strings.Join(packages, " "))
	}
	step := log.Start("Installing " + strings.Join(packages, " "))
	defer func() { step.End(err) }()
	// apt waits for another apt to end, instead of failing on its lock.
	apt := append(slices.Clone(prefix), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300", "-q")
	step.Update(1, 2, "apt-get update")
	updateErr := run(ctx, log, append(slices.Clone(apt), "update"))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	step.Update(2, 2, "apt-get install")
	args := append(slices.Clone(apt), "install", "--yes", "--no-install-recommends", "--")
	if err := run(ctx, log, append(args, packages...)); err != nil {
		// A mirror that fails in part matters only if install fails then.
		return errors.Join(updateErr, err)
	}
	return nil
}

func run(ctx context.Context, log progress.Log, argv []string) error {
	_, err := process.Run(ctx, process.Command{Argv: argv, Log: log.Output()})
	return err
}
