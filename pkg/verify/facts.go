package verify

import (
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/verify/result"
)

var memTotal = regexp.MustCompile(`(?m)^MemTotal:\s+(\d+) kB$`)

// hostFacts says what machine this is. Where there is no Linux /proc (proc(5)),
// kernel and memory stay unknown.
func hostFacts() result.Host {
	h := result.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if m := memTotal.FindSubmatch(b); m != nil {
			kib, _ := strconv.ParseInt(string(m[1]), 10, 64) // digits by the expression
			h.Memory = kib * 1024
		}
	}
	return h
}
