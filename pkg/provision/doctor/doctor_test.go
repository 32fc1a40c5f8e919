package doctor

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

func programs(names ...string) map[string]bool {
	have := map[string]bool{}
	for _, n := range names {
		have[n] = true
	}
	return have
}

func refused(attempts ...engine.Attempt) *engine.Refusal { return &engine.Refusal{Attempts: attempts} }

func absent(names ...string) []engine.Attempt {
	var all []engine.Attempt
	for _, n := range names {
		all = append(all, engine.Attempt{Engine: n, Err: engine.ErrNotInstalled})
	}
	return all
}

// good is a machine that lacks nothing; the cases take things away.
func good() Facts {
	return Facts{
		OS: "linux", Arch: "amd64", Root: true, Systemd: true, Distro: Distro{ID: "debian", VersionID: "12"},
		Engine: engine.Podman, Programs: programs(Programs...), Go: MinGo, DebianKeys: true,
		Disks:        []Disk{{Path: "/root/.cache/labctl", Use: "labctl's cache", Free: 100 << 30}},
		MemAvailable: 16 << 30, MemTotal: 24 << 30,
		Cgroup: "v2", LibModules: true, Overlay: true, Tasks: 1 << 15, TasksBy: "/proc/sys/kernel/pid_max",
		InotifyInstances: 8192, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func TestDiagnose(t *testing.T) {
	type want struct {
		id       string
		level    Level
		packages []string
		parts    []string // of What and Remedy
	}
	for _, c := range []struct {
		name  string
		facts func(*Facts)
		o     Options
		want  []want
	}{
		{name: "nothing missing", facts: func(*Facts) {}},
		{name: "Debian minimal", facts: func(f *Facts) {
			f.Engine, f.Refusal = "", refused(absent("docker", "podman", "nerdctl")...)
			f.Programs, f.DebianKeys, f.LibModules, f.Go = programs("apt-get"), false, false, ""
		}, want: []want{
			{"engine", Missing, []string{"podman", "netavark", "aardvark-dns", "iptables", "runc"}, []string{"docker: not installed", "apt-get install podman"}},
			{"lib-modules", Missing, nil, []string{"mkdir /lib/modules"}},
			{"mmdebstrap", Missing, []string{"mmdebstrap"}, nil},
			{"debian-keys", Missing, []string{"debian-archive-keyring"}, nil},
			{"go", Missing, nil, []string{"https://go.dev/dl"}},
			{"qemu", Warning, []string{"qemu-system-x86"}, []string{"untestable"}},
		}},
		{name: "Podman without iptables", facts: func(f *Facts) {
			f.Engine, f.Refusal = "", refused(engine.Attempt{Engine: "podman", Err: errors.New("netavark: No such file or directory (os error 2)")})
			delete(f.Programs, "iptables")
		}, want: []want{{"engine", Missing, []string{"iptables"}, []string{"podman: install iptables"}}}},
		{name: "Podman whole, and the machine refuses", facts: func(f *Facts) {
			f.Engine, f.Refusal = "", refused(engine.Attempt{Engine: "podman", Err: errors.New("mount proc: operation not permitted")})
		}, want: []want{{"engine", Missing, nil, []string{"operation not permitted", "privileged one"}}}},
		{name: "Ubuntu with Docker and a registry needs no mmdebstrap", facts: func(f *Facts) {
			f.Distro = Distro{ID: "ubuntu", Like: []string{"debian"}}
			f.Engine, f.Registry, f.DebianKeys = engine.Docker, true, false
			f.Programs = programs("docker", "apt-get", "go", "qemu-system-x86_64")
		}, want: []want{{"debian-keys", Missing, []string{"debian-archive-keyring"}, nil}}},
		{name: "the same told to build from packages", o: Options{Source: "debian"}, facts: func(f *Facts) {
			f.Registry = true
			delete(f.Programs, "mmdebstrap")
		}, want: []want{{"mmdebstrap", Missing, []string{"mmdebstrap"}, nil}}},
		{name: "the image is there", o: Options{HaveImage: true}, facts: func(f *Facts) {
			f.Programs, f.Go, f.DebianKeys = programs("podman", "qemu-system-x86_64"), "", false
			f.Disks[0].Free = 4 << 30
		}},
		{name: "Docker asked for and absent", o: Options{Engine: engine.Options{Name: engine.Docker}}, facts: func(f *Facts) {
			f.Engine, f.Refusal = "", refused(absent("docker")...)
			delete(f.Programs, "docker")
		}, want: []want{{"engine", Missing, []string{"docker.io"}, nil}}},
		{name: "no root", facts: func(f *Facts) {
			f.Root = false
			f.Programs["qemu-system-x86_64"] = false
		}, want: []want{{"qemu", Warning, []string{"qemu-system-x86"}, []string{"sudo apt-get install qemu-system-x86"}}}},
		{name: "Fedora", facts: func(f *Facts) {
			f.Distro = Distro{ID: "fedora"}
			f.Engine, f.Refusal = "", refused(absent("docker", "podman", "nerdctl")...)
			f.Programs, f.Registry, f.DebianKeys = programs("go"), true, false
		}, want: []want{
			{"engine", Missing, nil, []string{"dnf install podman"}},
			{"apt", Warning, nil, []string{"--gvisor"}},
			{"qemu", Warning, nil, []string{"dnf install qemu-system-x86-core"}},
		}},
		{name: "Fedora without a registry", facts: func(f *Facts) {
			f.Distro = Distro{ID: "fedora"}
			delete(f.Programs, "apt-get")
		}, want: []want{{"apt", Missing, nil, []string{"no registry answers", "Debian or Ubuntu"}}}},
		{name: "Arch", facts: func(f *Facts) {
			f.Distro = Distro{ID: "manjaro", Like: []string{"arch"}}
			f.Programs["qemu-system-x86_64"] = false
		}, want: []want{{"qemu", Warning, nil, []string{"pacman -S qemu-system-x86"}}}},
		{name: "a distribution that nobody knows", facts: func(f *Facts) {
			f.Distro = Distro{ID: "plan9"}
			f.Programs["qemu-system-x86_64"] = false
		}, want: []want{{"qemu", Warning, nil, []string{"doesn't know this distribution"}}}},
		{name: "macOS with Docker Desktop", facts: func(f *Facts) {
			*f = Facts{OS: "darwin", Arch: "arm64", Engine: engine.Docker, Registry: true, Programs: programs("docker", "go"), Go: MinGo,
				Disks: f.Disks, Now: f.Now}
		}, want: []want{{"apt", Warning, nil, []string{"gVisor"}}}},
		{name: "macOS without an engine", facts: func(f *Facts) {
			*f = Facts{OS: "darwin", Arch: "arm64", Refusal: refused(absent("docker", "podman", "nerdctl")...), Registry: true, Programs: programs("go"), Go: MinGo,
				Disks: f.Disks, Now: f.Now}
		}, want: []want{
			{"engine", Missing, nil, []string{"brew install podman", "podman machine init"}},
			{"apt", Warning, nil, nil},
		}},
		{name: "old Go", facts: func(f *Facts) { f.Go = "1.19.8" }, want: []want{{"go", Missing, nil, []string{"1.19.8", MinGo, "GOTOOLCHAIN=auto"}}}},
		{name: "old Go that fetches a newer one", facts: func(f *Facts) { f.Go, f.GoAuto = "1.22.0", true }},
		{name: "full disk", facts: func(f *Facts) { f.Disks[0].Free = 1 << 30 }, want: []want{{"disk", Missing, nil, []string{"1.0 GiB free", "XDG_CACHE_HOME"}}}},
		{name: "disk for a cluster, not for all labs", facts: func(f *Facts) { f.Disks[0].Free = 20 << 30 }, want: []want{{"disk", Warning, nil, []string{"20.0 GiB free", "33.0 GiB"}}}},
		{name: "little disk, node image built", facts: func(f *Facts) { f.Disks[0].Free = 20 << 30 }, o: Options{HaveImage: true}},
		{name: "little memory", facts: func(f *Facts) { f.MemAvailable = 3 << 30 }, want: []want{{"memory", Warning, nil, []string{"3.0 GiB"}}}},
		{name: "too little memory", facts: func(f *Facts) { f.MemAvailable = 1 << 30 }, want: []want{{"memory", Missing, nil, nil}}},
		{name: "no cgroups", facts: func(f *Facts) { f.Cgroup = "" }, want: []want{{"cgroup", Missing, nil, []string{"mount -t cgroup2"}}}},
		{name: "cgroup v1", facts: func(f *Facts) { f.Cgroup = "v1" }, want: []want{{"cgroup", Info, nil, []string{"failCgroupV1"}}}},
		{name: "no KVM", facts: func(f *Facts) { f.KVM = "open /dev/kvm: no such file or directory" }, want: []want{{"kvm", Info, nil, []string{"emulated"}}}},
		{name: "small limits", facts: func(f *Facts) { f.Tasks, f.InotifyInstances, f.Overlay = 1000, 128, false }, want: []want{
			{"overlay", Warning, nil, []string{"modprobe"}},
			{"tasks", Warning, nil, []string{"pid_max allows 1000"}},
			{"inotify", Warning, nil, []string{"sysctl fs.inotify.max_user_instances=512"}},
		}},
		{name: "port taken", o: Options{APIServerPort: 6443}, facts: func(f *Facts) { f.Port = "6443 on 127.0.0.1 is taken by another program" }, want: []want{{"port", Missing, nil, []string{"6443"}}}},
		{name: "a clock in the past", facts: func(f *Facts) { f.Built, f.Now = f.Now, time.Unix(0, 0) }, want: []want{{"clock", Missing, nil, []string{"1970", "set the clock"}}}},
		{name: "a clock that is right", facts: func(f *Facts) { f.Built = f.Now.Add(-time.Hour) }},
		{name: "labs that need no cluster", o: Options{NoCluster: true}, facts: func(f *Facts) {
			*f = Facts{OS: "linux", Arch: "amd64", Programs: programs("qemu-system-x86_64"), Disks: f.Disks, Now: f.Now}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := good()
			c.facts(&f)
			got := Diagnose(f, c.o)
			if len(got) != len(c.want) {
				t.Fatalf("%d findings, want %d: %+v", len(got), len(c.want), got)
			}
			for i, w := range c.want {
				if got[i].ID != w.id || got[i].Level != w.level || !slices.Equal(got[i].Packages, w.packages) {
					t.Errorf("%+v, want %+v", got[i], w)
				}
				for _, part := range w.parts {
					if !strings.Contains(got[i].What+" "+got[i].Remedy, part) {
						t.Errorf("%s lacks %q: %s → %s", w.id, part, got[i].What, got[i].Remedy)
					}
				}
				if got[i].Level == Missing && got[i].Remedy == "" {
					t.Errorf("%s has no remedy", w.id)
				}
			}
		})
	}
}

func TestAsErrorGathersEverythingMissing(t *testing.T) {
	f := good()
	f.LibModules, f.Go, f.KVM = false, "", "none"
	err := AsError(Diagnose(f, Options{}))
	var missing *MissingError
	if !errors.As(err, &missing) || len(missing.Findings) != 2 {
		t.Fatalf("%v", err)
	}
	for _, part := range []string{"lib-modules: ", "go: ", "→ mkdir", "labctl doctor --fix"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("lacks %q: %v", part, err)
		}
	}
	if err := AsError([]Finding{{Level: Warning}, {Level: Info}}); err != nil {
		t.Error(err)
	}
}

func TestMinGoIsThatOfTheModule(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^go (.*)$`).FindSubmatch(mod)
	if m == nil || string(m[1]) != MinGo {
		t.Errorf("go.mod has %s, MinGo is %s", m, MinGo)
	}
}

func TestParseOSRelease(t *testing.T) {
	d := ParseOSRelease("PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nID=ubuntu\nID_LIKE=\"debian  x\"\nVERSION_ID='24.04'\n# comment\nbroken\n")
	if d.ID != "ubuntu" || !slices.Equal(d.Like, []string{"debian", "x"}) || d.VersionID != "24.04" || d.Name != "Ubuntu 24.04 LTS" {
		t.Errorf("%+v", d)
	}
	if d := ParseOSRelease(""); d.ID != "" {
		t.Errorf("%+v", d)
	}
}

func TestMeminfo(t *testing.T) {
	total, available := meminfo("MemTotal:       24683888 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n")
	if total != 24683888<<10 || available != 1<<20 {
		t.Error(total, available)
	}
	if total, available := meminfo("nothing"); total != 0 || available != 0 {
		t.Error(total, available)
	}
}

func TestCgroups(t *testing.T) {
	for mounts, want := range map[string]string{
		"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n":                       "v2",
		"c /sys/fs/cgroup/cpu cgroup rw 0 0\n":                          "v1",
		"c /a cgroup rw 0 0\nc /sys/fs/cgroup/unified cgroup2 rw 0 0\n": "v1",
		"c /a cgroup rw 0 0\nc /with/controllers cgroup2 rw 0 0\n":      "mixed",
		"proc /proc proc rw 0 0\nshort\n":                               "",
	} {
		if got := cgroups(mounts, func(dir string) bool { return dir == "/with/controllers" }); got != want {
			t.Errorf("%q: %q", mounts, got)
		}
	}
}
