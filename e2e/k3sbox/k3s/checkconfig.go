package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// required are the kernel's options without which Pods don't run (K3s's
// check-config lists more, most of them optional).
var required = []string{
	"NAMESPACES", "NET_NS", "PID_NS", "IPC_NS", "UTS_NS", "CGROUPS", "CPUSETS", "MEMCG", "CGROUP_PIDS",
	"CGROUP_SCHED", "CGROUP_DEVICE", "CGROUP_FREEZER", "KEYS", "VETH", "OVERLAY_FS", "POSIX_MQUEUE",
	"NETFILTER_XT_MATCH_ADDRTYPE", "NETFILTER_XT_MATCH_COMMENT", "NETFILTER_XT_MATCH_CONNTRACK",
}

// checkConfig compares the running kernel's configuration with them, in the
// format of K3s's check-config.
func checkConfig(out io.Writer) error {
	config, path, err := kernelConfig()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "info: reading kernel config from %s ...\n\nGenerally Necessary:\n", path); err != nil {
		return err
	}
	missing := 0
	for _, o := range required {
		state := "enabled"
		switch config["CONFIG_"+o] {
		case "y":
		case "m":
			state = "enabled (as module)"
		default:
			state = "missing (fail)"
			missing++
		}
		if _, err := fmt.Fprintf(out, "- CONFIG_%s: %s\n", o, state); err != nil {
			return err
		}
	}
	status := "pass"
	if missing > 0 {
		status = fmt.Sprintf("%d (fail)", missing)
	}
	if _, err := fmt.Fprintf(out, "\nSTATUS: %s\n", status); err != nil {
		return err
	}
	if missing > 0 {
		return fmt.Errorf("%d of the kernel's options are missing", missing)
	}
	return nil
}

func kernelConfig() (map[string]string, string, error) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, "", err
	}
	for _, path := range []string{"/proc/config.gz", "/boot/config-" + strings.TrimSpace(string(release))} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		defer func() { _ = f.Close() }() // only read
		var in io.Reader = f
		if strings.HasSuffix(path, ".gz") {
			if in, err = gzip.NewReader(f); err != nil {
				return nil, "", err
			}
		}
		config := map[string]string{}
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			if key, value, ok := strings.Cut(lines.Text(), "="); ok {
				config[key] = value
			}
		}
		return config, path, lines.Err()
	}
	return nil, "", errors.New("cannot find the kernel's config (/proc/config.gz or /boot/config-RELEASE)")
}
