//go:build e2e

package k3sbox

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
)

//go:embed snapshot.sh
var snapshotScript string

// Snapshot is what there is on a box. The key is a kind (file: type, mode,
// owner, link; sum: SHA-256; process: how many; mount; unit; service; rule,
// nft: packet filter; link, netns, route; package) and a name; the value is
// what it is like.
type Snapshot map[string]string

// Snapshot looks at the whole box but for kernel file systems, /tmp, what is
// below the first level of /run, caches and systemd's own state.
func (b *Box) Snapshot(ctx context.Context) (Snapshot, error) {
	cmd := b.Command("sh", "-s")
	cmd.Stdin = strings.NewReader(snapshotScript)
	r, err := process.Run(ctx, cmd)
	if err != nil {
		return nil, err
	}
	s := Snapshot{}
	for line := range strings.Lines(string(r.Stdout)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		s[key] = strings.TrimSpace(value)
	}
	return s, nil
}

// Keys that differ without anybody's doing, as patterns for Diff.
var (
	// Volatile is what another boot changes, and what the engine writes.
	Volatile = []string{
		`^(file|sum) /etc/(resolv\.conf|hosts|hostname|mtab)$`, `^(file|sum) /var/log/(wtmp|btmp|lastlog)`,
		`^route `, `^file /run/`, `^service ldconfig\.service$`,
	}
	// Leftovers are what is there after K3s's own uninstall script, of the
	// stand-in as of the real one: folders above those that it removes, logs
	// of Pods, a folder that the kubelet makes, and its slices until a reboot.
	Leftovers = []string{
		`^file /(etc|var/lib)/rancher$`, `^(file|sum) /var/log/(pods|containers)(/|$)`,
		`^file /usr/libexec/kubernetes(/|$)`, `^unit kubepods`,
	}
)

// Diff says what differs, sorted: lines of "+ KEY  VALUE", "- KEY  VALUE" and
// "~ KEY  OLD -> NEW". Keys that match one of the patterns are left out.
func Diff(before, after Snapshot, except ...string) []string {
	var skip []*regexp.Regexp
	for _, e := range except {
		skip = append(skip, regexp.MustCompile(e))
	}
	var out []string
	add := func(key, line string) {
		if !slices.ContainsFunc(skip, func(r *regexp.Regexp) bool { return r.MatchString(key) }) {
			out = append(out, line)
		}
	}
	for key, old := range before {
		switch now, ok := after[key]; {
		case !ok:
			add(key, fmt.Sprintf("- %s  %s", key, old))
		case now != old:
			add(key, fmt.Sprintf("~ %s  %s -> %s", key, old, now))
		}
	}
	for key, now := range after {
		if _, ok := before[key]; !ok {
			add(key, fmt.Sprintf("+ %s  %s", key, now))
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	return out
}
