package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// containerd is the one on this machine that the kubelet uses.
type containerd struct {
	pid     int
	program string // path of the running program
	config  string // its configuration file
	address string // its socket
	root    string // its folder of persistent data
}

// findContainerd finds, among the containerds that run, the one that holds
// the kubelet's containers.
func findContainerd(m machine.Machine) (containerd, error) {
	if m.Path("/") == "/" && os.Geteuid() != 0 {
		return containerd{}, errors.New("labctl doesn't run as root, which looking into a node takes")
	}
	entries, err := os.ReadDir(m.Path("/proc"))
	if err != nil {
		return containerd{}, fmt.Errorf("processes of this machine: %w", err)
	}
	var found []containerd
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, err := m.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue // it has ended, or is a kernel thread
		}
		d, ok := parseDaemon(strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00"))
		if !ok {
			continue
		}
		d.pid = pid
		if d.program, err = os.Readlink(m.Path(filepath.Join("/proc", e.Name(), "exe"))); err != nil {
			continue
		}
		// K3s's is one program under many names, told apart by argv[0].
		if own := filepath.Join(filepath.Dir(d.program), "containerd"); d.program != own {
			if _, err := os.Stat(m.Path(own)); err == nil {
				d.program = own
			}
		}
		found = append(found, d.configured(m))
	}
	for _, d := range found {
		// The CRI plugin has a folder of that name in containerd 1 and 2.
		if containers, err := os.ReadDir(m.Path(filepath.Join(d.root, "io.containerd.grpc.v1.cri", "containers"))); err == nil && len(containers) > 0 {
			return d, nil
		}
	}
	if len(found) == 0 {
		return containerd{}, errors.New("no containerd runs on this machine")
	}
	return containerd{}, errors.New("no containerd on this machine holds containers of a kubelet")
}

// parseDaemon reads a command line; ok is false if it isn't a containerd's.
func parseDaemon(argv []string) (d containerd, ok bool) {
	if filepath.Base(argv[0]) != "containerd" {
		return d, false
	}
	d.config = "/etc/containerd/config.toml"
	for i := 1; i < len(argv); i++ {
		flag, value, joined := strings.Cut(argv[i], "=")
		if !strings.HasPrefix(flag, "-") {
			return d, false // a subcommand: containerd config dump
		}
		if !joined && i+1 < len(argv) && slices.Contains([]string{"c", "config", "a", "address", "root", "state", "l", "log-level"}, strings.TrimLeft(flag, "-")) {
			i++
			value = argv[i]
		}
		switch strings.TrimLeft(flag, "-") {
		case "c", "config":
			d.config = value
		case "a", "address":
			d.address = value
		case "root":
			d.root = value
		}
	}
	return d, true
}

// configured fills in what the command line leaves to the configuration file,
// and that to containerd's defaults.
func (d containerd) configured(m machine.Machine) containerd {
	var file struct {
		Root string
		GRPC struct{ Address string }
	}
	if b, err := m.ReadFile(d.config); err == nil {
		_ = toml.Unmarshal(b, &file) // containerd runs with it, so the defaults hold where this reader fails
	}
	d.root = or(or(d.root, file.Root), "/var/lib/containerd")
	d.address = or(or(d.address, file.GRPC.Address), "/run/containerd/containerd.sock")
	return d
}

// dump is the effective configuration.
func (d containerd) dump(ctx context.Context, m machine.Machine) ([]byte, error) {
	out, err := m.Output(ctx, d.program, "--config", d.config, "config", "dump")
	return []byte(out), err
}

// log is what it logged in the last minutes, where its service keeps a
// journal.
func (d containerd) log(ctx context.Context, m machine.Machine) (string, error) {
	b, err := m.ReadFile(fmt.Sprintf("/proc/%d/cgroup", d.pid))
	if err != nil {
		return "", err
	}
	for _, part := range strings.FieldsFunc(string(b), func(r rune) bool { return r == '/' || r == '\n' }) {
		if strings.HasSuffix(part, ".service") {
			return m.Output(ctx, "journalctl", "--unit="+part, "--no-pager", "--output=cat", "--since=-5min")
		}
	}
	return "", errors.New("containerd on this machine belongs to no systemd service")
}
