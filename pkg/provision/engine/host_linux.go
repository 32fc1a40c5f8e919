package engine

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// inspectHost looks at the machine that labctl runs on.
func inspectHost() (Host, error) {
	var h Host
	bounding, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	if err != nil {
		return h, fmt.Errorf("capability bounding set: %w", err)
	}
	h.SysResource = bounding == 1
	for resource, value := range map[int]*uint64{unix.RLIMIT_NOFILE: &h.NoFile, unix.RLIMIT_NPROC: &h.NProc} {
		var limit unix.Rlimit
		if err := unix.Getrlimit(resource, &limit); err != nil {
			return h, fmt.Errorf("getrlimit: %w", err)
		}
		*value = limit.Max
	}
	// These two are missing on no Linux; a /proc that hides PID 1 (hidepid)
	// looks like one without systemd, and then the plain settings work too.
	comm, _ := os.ReadFile("/proc/1/comm")
	h.Systemd = strings.TrimSpace(string(comm)) == "systemd"
	mounts, _ := os.ReadFile("/proc/self/mounts")
	h.MixedCgroups = mixedCgroups(string(mounts), func(dir string) bool {
		controllers, _ := os.ReadFile(dir + "/cgroup.controllers")
		return strings.TrimSpace(string(controllers)) != ""
	})
	_, err = exec.LookPath("runc")
	h.Runc = err == nil
	return h, nil
}
