package packages

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// purge removes exactly the packages, with their configuration.
func purge(ctx context.Context, m machine.Machine, names []string, log io.Writer) error {
	// dpkg is asked first: unlike apt it never removes what needs a package,
	// but refuses. A package that was half unpacked is removed as well.
	dpkg := append([]string{"dpkg", "--force-remove-reinstreq", "--purge"}, names...)
	exit, err := m.Run(ctx, machine.Command{Argv: slices.Insert(slices.Clone(dpkg), 1, "--no-act"), Env: environment})
	if err != nil {
		return err
	}
	if needed := refusals(string(exit.Stderr), names); needed != nil {
		return needed
	}
	half, err := inState(ctx, m, halfInstalled)
	if err != nil {
		return err
	}
	if len(half) == 0 {
		return apt{m: m, log: log}.run(ctx, append([]string{"purge"}, names...)...)
	}
	// apt would want to install those anew before it removes them.
	exit, err = m.Run(ctx, machine.Command{Argv: dpkg, Env: environment, Log: log})
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("dpkg --purge ended with %d: %s", exit.Code, tail(string(exit.Stderr), 12))
	}
	return err
}

// What dpkg says of a package that it won't remove, and who needs it:
//
//	dpkg: dependency problems prevent removal of libjq1:amd64:
//	 jq depends on libjq1 (= 1.7.1-6+deb13u4).
var (
	refusal = regexp.MustCompile(`^dpkg: dependency problems prevent removal of ([^:\s]+)`)
	reason  = regexp.MustCompile(`^ ([^:\s]+)(?::\w+)? depends on `)
)

// refusals reads which of the packages dpkg won't remove because of packages
// that aren't among them; nil if there are none.
func refusals(said string, names []string) error {
	needed := &NeededError{}
	add := func(list []string, name string) []string {
		if slices.Contains(list, name) {
			return list
		}
		return append(list, name)
	}
	at := ""
	for line := range strings.Lines(said) {
		if m := refusal.FindStringSubmatch(line); m != nil {
			at = m[1]
		}
		if m := reason.FindStringSubmatch(line); m != nil && !slices.Contains(names, m[1]) {
			needed.Packages, needed.By = add(needed.Packages, at), add(needed.By, m[1])
		}
	}
	if len(needed.By) == 0 {
		return nil
	}
	return needed
}
