package labprobe

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A microVM's first process is labprobe itself (labprobe init): it mounts
// what the kernel shows, loads the modules in GuestModules, prints a
// GuestReady, runs the command that the kernel command line holds, and
// restarts the machine, which ends it.

// GuestModules is the folder of kernel modules in a microVM's initramfs. It has
// a folder a group; those of a group are loaded in the order of their file names.
const GuestModules = "modules"

const (
	guestRunKey   = "labctl.run="
	guestDisksKey = "labctl.disks="
	guestModsKey  = "labctl.modules="
	guestReadyKey = `{"guest":`
)

// GuestOrder is what the first process of a microVM is told to do.
type GuestOrder struct {
	// Args is the labprobe command line.
	Args []string
	// Disks is how many disks to wait for before the command runs, because
	// the kernel finds some kinds (SATA) in the background.
	Disks int
	// Modules is the group of kernel modules to load, one word.
	Modules string
}

// KernelArguments are the order's words for the kernel command line.
// Parameters with a dot belong to modules, so the kernel passes them over.
// Linux keeps 2048 characters of the command line on x86.
func (o GuestOrder) KernelArguments() (string, error) {
	b, err := json.Marshal(o.Args)
	if err != nil {
		return "", err
	}
	s := guestRunKey + base64.RawURLEncoding.EncodeToString(b)
	if len(s) > 1500 {
		return "", fmt.Errorf("the labprobe command line has %d bytes, too many for a kernel command line", len(b))
	}
	return fmt.Sprintf("%s%s %s%d %s", guestModsKey, o.Modules, guestDisksKey, o.Disks, s), nil
}

func parseKernelArguments(cmdline string) (GuestOrder, error) {
	var o GuestOrder
	found := false
	for _, word := range strings.Fields(cmdline) {
		if n, ok := strings.CutPrefix(word, guestDisksKey); ok {
			if _, err := fmt.Sscan(n, &o.Disks); err != nil {
				return o, fmt.Errorf("kernel command line: %q: %w", word, err)
			}
		}
		if s, ok := strings.CutPrefix(word, guestModsKey); ok {
			o.Modules = s
		}
		if s, ok := strings.CutPrefix(word, guestRunKey); ok {
			b, err := base64.RawURLEncoding.DecodeString(s)
			if err == nil {
				err = json.Unmarshal(b, &o.Args)
			}
			if err != nil {
				return o, fmt.Errorf("kernel command line: %q: %w", word, err)
			}
			found = true
		}
	}
	if !found {
		return o, fmt.Errorf("the kernel command line has no %s; labprobe init is the first process of microVMs that labctl boots", guestRunKey)
	}
	return o, nil
}

// GuestReady is the first line that a microVM's user space prints.
type GuestReady struct {
	// Guest is the format's version, "v1".
	Guest string `json:"guest"`
	// Uptime is the kernel's monotonic clock when the first process began:
	// how long the kernel took, from its own start.
	Uptime time.Duration `json:"uptime"`
	// Modules are those that were loaded, Failed those that weren't, with
	// the reason.
	Modules []string `json:"modules"`
	Failed  []string `json:"failed,omitempty"`
}

// ParseGuestReady reads the line; false if it is another one. The console may
// have put something before it.
func ParseGuestReady(line string) (GuestReady, bool) {
	var g GuestReady
	i := strings.Index(line, guestReadyKey)
	if i < 0 || json.Unmarshal([]byte(line[i:]), &g) != nil || g.Guest != Version {
		return GuestReady{}, false
	}
	return g, true
}
