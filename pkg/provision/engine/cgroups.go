package engine

import "strings"

// mixedCgroups says whether the mounts (in the format of /proc/PID/mounts,
// proc_pid_mounts(5)) hold cgroup v1 hierarchies and a cgroup2 mount that has
// controllers.
func mixedCgroups(mounts string, hasControllers func(dir string) bool) bool {
	v1, v2 := false, false
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		switch fields[2] {
		case "cgroup":
			v1 = true
		case "cgroup2":
			v2 = v2 || hasControllers(fields[1])
		}
	}
	return v1 && v2
}
