package verify

import (
	"os"
	"runtime"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// hostFacts says what machine this is. Where there is no Linux /proc (proc(5)),
// kernel and memory stay unknown.
func hostFacts() result.Host {
	h := result.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h.Kernel = strings.TrimSpace(string(b))
	}
	if proc, err := procfs.NewDefaultFS(); err == nil {
		if m, err := proc.Meminfo(); err == nil && m.MemTotalBytes != nil {
			h.Memory = int64(*m.MemTotalBytes) // below 2^63
		}
	}
	return h
}
