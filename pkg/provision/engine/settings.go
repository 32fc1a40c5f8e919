package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"

	"github.com/BurntSushi/toml"
)

// Host is what decides which settings Podman needs on a machine.
type Host struct {
	// SysResource says that CAP_SYS_RESOURCE is in the bounding set: without
	// it nobody can raise a hard limit (capabilities(7)).
	SysResource bool
	// NoFile and NProc are the hard limits of open files and processes
	// (getrlimit(2)).
	NoFile, NProc uint64
	// Systemd says that PID 1 is systemd.
	Systemd bool
	// MixedCgroups says that cgroup v1 is in use and that controllers sit on
	// a cgroup2 mount beside it.
	MixedCgroups bool
	// Runc says that runc is on PATH.
	Runc bool
}

// podmanNProc is the highest RLIMIT_NPROC that Podman can hand on where it
// can't raise limits: it lowers its own to this before it starts a container.
const podmanNProc = 32768

// podmanSettings are the settings of containers.conf(5) that lab nodes need
// on this host.
func podmanSettings(h Host) map[string]any {
	containers := map[string]any{
		// A node runs a whole Kubernetes; Podman's default of 2048 tasks a
		// container is for one application.
		"pids_limit": int64(-1),
	}
	engine := map[string]any{}
	if !h.SysResource {
		containers["default_ulimits"] = []string{
			fmt.Sprintf("nofile=%d:%d", h.NoFile, h.NoFile),
			fmt.Sprintf("nproc=%d:%d", min(h.NProc, podmanNProc), min(h.NProc, podmanNProc)),
		}
	}
	if !h.Systemd {
		// Nobody would answer on systemd's bus, nobody reads the journal.
		engine["cgroup_manager"] = "cgroupfs"
		engine["events_logger"] = "file"
	}
	if h.MixedCgroups && h.Runc {
		// crun wants to move itself on every cgroup2 mount and fails.
		engine["runtime"] = "runc"
	}
	return map[string]any{"containers": containers, "engine": engine}
}

// podmanEnv writes a containers.conf of labctl's own and returns the
// environment that makes Podman read it. CONTAINERS_CONF replaces every other
// file, and what would add to them (CONTAINERS_CONF_OVERRIDE) came with
// Podman 4.5 only, so the files that Podman would have read go in first.
func podmanEnv(stateDir string) ([]string, error) {
	if runtime.GOOS != "linux" {
		return nil, nil // the engine's machine has its own settings
	}
	host, err := inspectHost()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(stateDir, "containers.conf")
	conf, err := mergedConf(podmanConfFiles(path), podmanSettings(host))
	if err != nil {
		return nil, err
	}
	if err := writeFile(path, conf); err != nil {
		return nil, fmt.Errorf("settings of labctl's own for Podman: %w", err)
	}
	return []string{"CONTAINERS_CONF=" + path}, nil
}

// podmanConfFiles are the files that Podman would read, in its order
// (containers.conf(5), "FILES"). A variable that names labctl's own file, set
// by a labctl that runs this one, doesn't count.
func podmanConfFiles(own string) []string {
	if users := os.Getenv("CONTAINERS_CONF"); users != "" && users != own {
		return []string{users}
	}
	dirs := []string{"/usr/share/containers", "/etc/containers"}
	if os.Geteuid() != 0 {
		if dir, err := os.UserConfigDir(); err == nil {
			dirs = append(dirs, filepath.Join(dir, "containers"))
		}
	}
	var files []string
	for _, dir := range dirs {
		files = append(files, filepath.Join(dir, "containers.conf"))
		// The pattern is well formed, so Glob has no error; its result is sorted.
		dropins, _ := filepath.Glob(filepath.Join(dir, "containers.conf.d", "*.conf"))
		files = append(files, dropins...)
	}
	return files
}

// mergedConf is the files, later ones over earlier ones, and settings over all.
func mergedConf(files []string, settings map[string]any) ([]byte, error) {
	merged := map[string]any{}
	for _, file := range files {
		var conf map[string]any
		_, err := toml.DecodeFile(file, &conf)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("settings of Podman in %s: %w", file, err)
		}
		merge(merged, conf)
	}
	merge(merged, settings)
	b := bytes.NewBufferString("# Written by labctl at each start; edits are lost.\n")
	if err := toml.NewEncoder(b).Encode(merged); err != nil {
		return nil, fmt.Errorf("settings of Podman: %w", err)
	}
	return b.Bytes(), nil
}

// merge lays src over dst: tables key by key, everything else as a whole.
func merge(dst, src map[string]any) {
	for key, value := range src {
		table, ok := value.(map[string]any)
		old, oldOK := dst[key].(map[string]any)
		if ok && oldOK {
			merge(old, table)
			continue
		}
		if ok {
			value = maps.Clone(table)
		}
		dst[key] = value
	}
}

// writeFile replaces the file in one step, and only if it differs: another
// labctl may be reading it.
func writeFile(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
