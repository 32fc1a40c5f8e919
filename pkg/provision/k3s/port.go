package k3s

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// listening is the state of a socket in /proc/net/tcp (TCP_LISTEN in the
// kernel's include/net/tcp_states.h).
const listening = "0A"

// listener names the program that listens on a TCP port of the machine; "" if
// there is none (proc_pid_net(5)).
func listener(m machine.Machine, port int) string {
	suffix := fmt.Sprintf(":%04X", port)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := m.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == listening {
				return owner(m, fields[9])
			}
		}
	}
	return ""
}

// owner names the process that holds a socket.
func owner(m machine.Machine, inode string) string {
	links, _ := filepath.Glob(m.Path("/proc/[0-9]*/fd/*")) // the pattern is right
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := filepath.Base(filepath.Dir(filepath.Dir(link)))
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		name, err := m.ReadFile("/proc/" + pid + "/comm")
		if err == nil {
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
		}
	}
	return "another program"
}
