package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestPodmanSettings(t *testing.T) {
	laptop := Host{SysResource: true, NoFile: 1 << 20, NProc: 1 << 17, Systemd: true}
	restricted := Host{NoFile: 20000, NProc: 96365, MixedCgroups: true, Runc: true}
	noRunc, fewProcs := restricted, restricted
	noRunc.Runc, fewProcs.NProc = false, 1000
	for _, c := range []struct {
		name       string
		host       Host
		want, lack []string
	}{
		{"laptop", laptop, []string{"pids_limit = -1"}, []string{"default_ulimits", "runtime", "cgroup_manager", "events_logger"}},
		{"restricted", restricted, []string{`"nofile=20000:20000"`, `"nproc=32768:32768"`, `runtime = "runc"`, `cgroup_manager = "cgroupfs"`, `events_logger = "file"`}, nil},
		{"fewer processes than Podman's limit", fewProcs, []string{`"nproc=1000:1000"`}, nil},
		{"no runc to switch to", noRunc, []string{"default_ulimits"}, []string{"runtime ="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, err := mergedConf(nil, podmanSettings(c.host))
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range c.want {
				if !strings.Contains(string(conf), part) {
					t.Errorf("lacks %s:\n%s", part, conf)
				}
			}
			for _, part := range c.lack {
				if strings.Contains(string(conf), part) {
					t.Errorf("has %s:\n%s", part, conf)
				}
			}
		})
	}
}

func TestMergedConfKeepsTheUsersSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	files := []string{
		write("1", "[containers]\ndns_servers = [\"192.0.2.1\"]\npids_limit = 5\n[engine.runtimes]\nrunc = [\"/opt/runc\"]\n"),
		filepath.Join(dir, "missing"),
		write("2", "[containers]\ndns_servers = [\"192.0.2.2\"]\n[engine.runtimes]\ncrun = [\"/opt/crun\"]\n"),
	}
	conf, err := mergedConf(files, podmanSettings(Host{SysResource: true}))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Containers struct {
			DNS  []string `toml:"dns_servers"`
			PIDs int      `toml:"pids_limit"`
		}
		Engine struct {
			CgroupManager string `toml:"cgroup_manager"`
			Runtimes      map[string][]string
		}
	}
	if _, err := toml.Decode(string(conf), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Containers.DNS) != 1 || got.Containers.DNS[0] != "192.0.2.2" || got.Containers.PIDs != -1 ||
		got.Engine.CgroupManager != "cgroupfs" || got.Engine.Runtimes["runc"][0] != "/opt/runc" || got.Engine.Runtimes["crun"][0] != "/opt/crun" {
		t.Errorf("%+v\n%s", got, conf)
	}
	broken := write("3", "[containers\n")
	if _, err := mergedConf([]string{broken}, nil); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("a broken file gives %v", err)
	}
}

func TestPodmanConfFilesHonoursTheVariable(t *testing.T) {
	t.Setenv("CONTAINERS_CONF", "/somewhere/own.conf")
	if got := podmanConfFiles("/state/containers.conf"); len(got) != 1 || got[0] != "/somewhere/own.conf" {
		t.Errorf("%v", got)
	}
	if got := podmanConfFiles("/somewhere/own.conf"); len(got) < 2 {
		t.Errorf("labctl's own file hides the system's: %v", got)
	}
}

func TestMixedCgroups(t *testing.T) {
	const v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
	const v2 = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
	for _, c := range []struct {
		name, mounts string
		controllers  bool
		want         bool
	}{
		{"v2 alone", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", true, false},
		{"v1 alone", v1, false, false},
		{"systemd's hybrid: v2 only for names", v1 + v2, false, false},
		{"controllers on both", v1 + v2, true, true},
		{"none", "proc /proc proc rw 0 0\n\n", true, false},
	} {
		if got := mixedCgroups(c.mounts, func(string) bool { return c.controllers }); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
