package k3s

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// endShims kills the shims of gVisor's that outlived K3s, with their
// sandboxes: K3s's own scripts know only the shims in K3s's folder.
func (p *Provider) endShims(ctx context.Context) error {
	pids, err := shimTrees(p.m)
	if err != nil || len(pids) == 0 {
		return err
	}
	exit, err := p.m.Run(ctx, machine.Command{Argv: append([]string{"kill", "-KILL"}, pids...)})
	if err != nil {
		return fmt.Errorf("end gVisor's shims: %w", err)
	}
	if exit.Code != 0 && !bytes.Contains(exit.Stderr, []byte("No such process")) {
		return fmt.Errorf("end gVisor's shims: %s", bytes.TrimSpace(exit.Stderr))
	}
	return nil
}

// shimTrees are the processes of gVisor's shims for K3s's containerd, and all
// below them (proc_pid_cmdline(5), proc_pid_stat(5)).
func shimTrees(m machine.Machine) ([]string, error) {
	entries, err := os.ReadDir(m.Path("/proc"))
	if err != nil {
		return nil, err
	}
	children := map[string][]string{}
	var pids []string
	for _, e := range entries {
		pid := e.Name()
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		cmdline, errLine := m.ReadFile("/proc/" + pid + "/cmdline")
		stat, errStat := m.ReadFile("/proc/" + pid + "/stat")
		if errors.Join(errLine, errStat) != nil {
			continue // it has ended
		}
		// The name, in brackets, may hold anything.
		if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(fields) > 1 {
			children[fields[1]] = append(children[fields[1]], pid)
		}
		argv := strings.Split(string(cmdline), "\x00")
		if strings.HasSuffix(argv[0], runscShim) && slices.Contains(argv, socket) {
			pids = append(pids, pid)
		}
	}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids, nil
}
