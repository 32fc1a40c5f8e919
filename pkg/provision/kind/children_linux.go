package kind

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// endChildren ends this process's children that run the program and are in
// its own process group: those are kind's, since package process gives its
// children groups of their own.
func endChildren(program string) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		if pid, ok := isChild(string(b), program, os.Getpid(), syscall.Getpgrp()); ok {
			_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended
		}
	}
}

// isChild reads one /proc/PID/stat: pid (comm) state ppid pgrp …
// (proc_pid_stat(5)); comm has at most 15 characters.
func isChild(stat, program string, parent, group int) (pid int, ok bool) {
	begin, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if begin < 0 || end < begin {
		return 0, false
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 3 || stat[begin+1:end] != fmt.Sprintf("%.15s", program) {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(stat[:begin]))
	return pid, err == nil && fields[1] == strconv.Itoa(parent) && fields[2] == strconv.Itoa(group)
}
