package doctor

import (
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// kernelWith is a configuration that has everything that is needed.
func kernelWith(value string) map[string]string {
	config := map[string]string{}
	for _, n := range needs {
		for _, option := range n.options {
			for _, o := range strings.Split(option, "|") {
				config[o] = value
			}
		}
	}
	return config
}

// goodBox lacks nothing; the cases take things away.
func goodBox() Box {
	trials := map[feature]string{}
	for _, f := range []feature{namespaces, overlay, bridge, vxlan, netfilter} {
		trials[f] = ""
	}
	return Box{
		OS: "linux", Arch: "arm64", Kernel: "6.12.48", Root: true, CPUs: 4, Packages: true,
		Distro: Distro{ID: "debian"}, Config: kernelWith("y"), ConfigFile: "/boot/config-6.12.48", Modules: true, Trials: trials,
		Cgroup: "v2", Controllers: []string{"cpuset", "cpu", "io", "memory", "pids"},
		Free: 20 << 30, Size: 32 << 30, MemTotal: 4 << 30, MemAvailable: 3 << 30,
		Now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Newest: time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC), NewestFile: "/etc", NTP: "yes",
	}
}

func TestDiagnoseBox(t *testing.T) {
	type want struct {
		id    string
		level Level
		parts []string // of What and Remedy
	}
	untried := func(b *Box, f feature) { delete(b.Trials, f) }
	for _, c := range []struct {
		name string
		box  func(*Box)
		want []want
	}{
		{name: "nothing missing", box: func(*Box) {}},
		{name: "macOS", box: func(b *Box) { b.OS = "darwin" }, want: []want{{"os", Missing, []string{"darwin", "--provider kind"}}}},
		{name: "RISC-V", box: func(b *Box) { b.Arch = "riscv64" }, want: []want{{"arch", Missing, []string{"riscv64"}}}},
		{name: "no root", box: func(b *Box) { b.Root = false }, want: []want{{"root", Missing, []string{"sudo"}}}},
		{name: "no init system", box: func(b *Box) { b.Init = "neither systemd nor OpenRC runs" }, want: []want{{"init", Missing, []string{"neither", "Operating Systems"}}}},
		{name: "one CPU", box: func(b *Box) { b.CPUs = 1 }, want: []want{{"cpu", Warning, []string{"one CPU"}}}},
		{name: "Alpine", box: func(b *Box) { b.Packages = false }, want: []want{{"apt", Warning, []string{"--runtime-files"}}}},

		{name: "modules that are there", box: func(b *Box) { b.Config, b.Trials = kernelWith("m"), nil }},
		{name: "modules that are gone", box: func(b *Box) {
			b.Config["VXLAN"], b.Modules = "m", false
			untried(b, vxlan)
		}, want: []want{{"kernel-vxlan", Warning, []string{"CONFIG_VXLAN", "reboot after a kernel update", "host-gw"}}}},
		{name: "the configuration lacks what works", box: func(b *Box) { delete(b.Config, "BRIDGE") }},
		{name: "no bridge", box: func(b *Box) {
			delete(b.Config, "BRIDGE")
			b.Trials[bridge] = "make a bridge: operation not supported"
		}, want: []want{{"kernel-bridge", Missing, []string{"operation not supported", "CONFIG_BRIDGE", "check-config"}}}},
		{name: "no namespaces, configuration unknown", box: func(b *Box) {
			b.Config, b.ConfigFile = nil, ""
			b.Trials[namespaces] = "unshare: operation not permitted"
		}, want: []want{{"kernel-namespaces", Missing, []string{"not permitted"}}, {"kernel-config", Info, []string{"/proc/config.gz"}}}},
		{name: "no overlay on this file system", box: func(b *Box) { b.Trials[overlay] = "mount an overlay below /var/lib: invalid argument" },
			want: []want{{"kernel-overlayfs", Missing, []string{"invalid argument", "ext4"}}}},
		{name: "nf_tables not loaded yet", box: func(b *Box) { b.Trials[netfilter] = "neither nf_tables nor ip_tables answers" }},
		{name: "no netfilter", box: func(b *Box) {
			b.Trials[netfilter] = "neither nf_tables nor ip_tables answers"
			delete(b.Config, "NF_TABLES")
			delete(b.Config, "IP_NF_IPTABLES")
		}, want: []want{{"kernel-netfilter", Missing, []string{"CONFIG_NF_TABLES or CONFIG_IP_NF_IPTABLES"}}}},
		{name: "one of two is enough", box: func(b *Box) {
			untried(b, netfilter)
			delete(b.Config, "NF_TABLES")
		}},
		{name: "no message queues", box: func(b *Box) { delete(b.Config, "POSIX_MQUEUE") }, want: []want{{"kernel-keys-and-message-queues", Missing, []string{"POSIX_MQUEUE"}}}},
		{name: "no CPU limits", box: func(b *Box) { delete(b.Config, "CFS_BANDWIDTH") }, want: []want{{"kernel-CPU-limits", Warning, []string{"CFS_BANDWIDTH"}}}},

		{name: "no cgroups", box: func(b *Box) { b.Cgroup, b.Controllers = "", nil }, want: []want{{"cgroup", Missing, []string{"mount -t cgroup2"}}}},
		{name: "a Raspberry Pi", box: func(b *Box) { b.Controllers = []string{"cpuset", "cpu", "io", "pids"} },
			want: []want{{"cgroup-memory", Missing, []string{"cgroup_memory=1 cgroup_enable=memory", "cmdline.txt", "Requirements"}}}},
		{name: "a slice without pids", box: func(b *Box) { b.Controllers = []string{"cpuset", "cpu", "memory"} }, want: []want{{"cgroup-pids", Missing, []string{"Delegate="}}}},
		{name: "cgroup v1", box: func(b *Box) { b.Cgroup = "v1" }, want: []want{{"cgroup", Info, []string{"failCgroupV1"}}}},

		{name: "full disk", box: func(b *Box) { b.Free = 512 << 20 }, want: []want{{"disk", Missing, []string{"0.5 GiB free", "/var/lib/rancher"}}}},
		{name: "a large disk that is nearly full", box: func(b *Box) { b.Free, b.Size = 20<<30, 500<<30 }, want: []want{{"disk", Missing, []string{"evicts"}}}},
		{name: "a small disk", box: func(b *Box) { b.Free, b.Size = 2<<30, 4<<30 }, want: []want{{"disk", Warning, []string{"3.0 GiB"}}}},
		{name: "a full disk under a K3s that runs", box: func(b *Box) {
			b.Free = 1 << 30
			b.K3s = BoxK3s{Binary: "/usr/local/bin/k3s", Unit: "/etc/systemd/system/k3s.service", Active: true}
		}, want: []want{{"k3s", Info, []string{"runs here"}}}},
		{name: "256 MB", box: func(b *Box) { b.MemTotal, b.MemAvailable = 240<<20, 200<<20 }, want: []want{{"memory", Missing, []string{"512 MB", "Hardware"}}}},
		{name: "512 MB", box: func(b *Box) { b.MemTotal, b.MemAvailable = 490<<20, 400<<20 }, want: []want{{"memory", Warning, []string{"are available"}}}},
		{name: "1 GB", box: func(b *Box) { b.MemTotal, b.MemAvailable = 1000<<20, 900<<20 }, want: []want{{"memory", Warning, []string{"2 GB of a server"}}}},
		{name: "swap", box: func(b *Box) { b.Swap = 1 << 30 }, want: []want{{"swap", Info, []string{"1.0 GiB of swap"}}}},
		{name: "ports", box: func(b *Box) {
			b.Ports = []TakenPort{{6443, false, "the API server", "haproxy (pid 9)"}, {flannelPort, true, "Flannel's VXLAN", "the kernel"}}
		}, want: []want{{"port-6443", Missing, []string{"TCP", "haproxy (pid 9)", "Networking"}}, {"port-8472", Warning, []string{"UDP", "the kernel"}}}},

		{name: "no battery", box: func(b *Box) { b.Now = time.Unix(3600, 0) }, want: []want{{"clock", Missing, []string{"1970-01-01"}}}},
		{name: "a clock behind the system", box: func(b *Box) { b.Now = b.Newest.Add(-48 * time.Hour) }, want: []want{{"clock", Missing, []string{"/etc was changed on 2026-02-28"}}}},
		{name: "a file that was just written", box: func(b *Box) { b.Now = b.Newest.Add(-time.Minute) }},
		{name: "no NTP", box: func(b *Box) { b.NTP = "no" }, want: []want{{"clock", Warning, []string{"not synchronized"}}}},
		{name: "NTP unknown", box: func(b *Box) { b.NTP = "" }},

		{name: "data of an earlier K3s", box: func(b *Box) { b.K3s.Data = []string{"/var/lib/rancher/k3s/server/db"} },
			want: []want{{"k3s", Missing, []string{"/var/lib/rancher/k3s/server/db", "its database", "Uninstalling"}}}},
		{name: "an uninstall script without K3s", box: func(b *Box) { b.K3s.Uninstall = "/usr/local/bin/k3s-uninstall.sh" },
			want: []want{{"k3s", Missing, []string{"run /usr/local/bin/k3s-uninstall.sh"}}}},
		{name: "a service without K3s", box: func(b *Box) { b.K3s.Unit = "/etc/systemd/system/k3s.service" }, want: []want{{"k3s", Missing, []string{"k3s.service is left"}}}},
		{name: "K3s stopped", box: func(b *Box) {
			b.K3s = BoxK3s{Binary: "/usr/local/bin/k3s", Unit: "/etc/init.d/k3s", Data: []string{"x"}}
		}, want: []want{{"k3s", Missing, []string{"doesn't run", "start it"}}}},
		{name: "a program alone", box: func(b *Box) { b.K3s.Binary = "/usr/local/bin/k3s" }, want: []want{{"k3s", Info, []string{"without a service"}}}},
		{name: "labctl interrupted", box: func(b *Box) {
			b.Interrupted = "the installation of K3s"
			b.K3s = BoxK3s{Binary: "/usr/local/bin/k3s", Data: []string{"x"}}
		}, want: []want{{"interrupted", Warning, []string{"goes on with it", "labctl down"}}}},
		{name: "labctl's K3s stopped", box: func(b *Box) {
			b.Labctl, b.K3s = true, BoxK3s{Binary: "/usr/local/bin/k3s", Unit: "/etc/init.d/k3s", Data: []string{"x"}}
		}, want: []want{{"k3s", Warning, []string{"labctl up --provider k3s repairs it"}}}},
		{name: "interfaces and chains", box: func(b *Box) { b.Interfaces, b.Chains = []string{"cni0", "flannel.1"}, 12 },
			want: []want{{"network", Warning, []string{"cni0, flannel.1", "k3s-killall.sh"}}, {"iptables", Warning, []string{"12 chains"}}}},

		{name: "AppArmor without its parser", box: func(b *Box) { b.AppArmor = true }, want: []want{{"apparmor", Warning, []string{"apt-get install apparmor"}}}},
		{name: "AppArmor with it", box: func(b *Box) { b.AppArmor, b.Parser = true, true }},
		{name: "SELinux", box: func(b *Box) { b.SELinux = true }, want: []want{{"selinux", Warning, []string{"k3s-selinux"}}}},
		{name: "firewalld", box: func(b *Box) { b.Firewalls = []string{"firewalld"} }, want: []want{{"firewall", Warning, []string{"firewall-cmd", "10.42.0.0/16"}}}},
		{name: "ufw", box: func(b *Box) { b.Firewalls = []string{"ufw"} }, want: []want{{"firewall", Warning, []string{"ufw allow 6443/tcp"}}}},
		{name: "a kubelet", box: func(b *Box) { b.Others = []Process{{"kubelet", 7}} }, want: []want{{"kubelet", Missing, []string{"pid 7", "--provider kubeconfig"}}}},
		{name: "Docker", box: func(b *Box) { b.Others = []Process{{"dockerd", 7}, {"containerd", 8}} }, want: []want{{"engines", Info, []string{"dockerd (pid 7), containerd (pid 8)"}}}},
		{name: "the worst first", box: func(b *Box) { b.Swap, b.CPUs, b.Root = 1, 1, false }, want: []want{{"root", Missing, nil}, {"cpu", Warning, nil}, {"swap", Info, nil}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := goodBox()
			c.box(&b)
			got := DiagnoseBox(b)
			if len(got) != len(c.want) {
				t.Fatalf("%d findings, want %d: %+v", len(got), len(c.want), got)
			}
			for i, w := range c.want {
				if got[i].ID != w.id || got[i].Level != w.level {
					t.Errorf("%+v, want %+v", got[i], w)
				}
				for _, part := range w.parts {
					if !strings.Contains(got[i].What+" "+got[i].Remedy, part) {
						t.Errorf("%s lacks %q: %s → %s", w.id, part, got[i].What, got[i].Remedy)
					}
				}
				if got[i].Level != Info && got[i].Remedy == "" {
					t.Errorf("%s has no remedy", w.id)
				}
			}
		})
	}
}

// files makes a machine of files; a value that begins with -> is a link.
func files(t *testing.T, content map[string]string) machine.Machine {
	t.Helper()
	root := t.TempDir()
	for name, text := range content {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, is := strings.CutPrefix(text, "->"); is {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return machine.Machine{Root: root}
}

const socketTable = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func TestCollectBox(t *testing.T) {
	m := files(t, map[string]string{
		"etc/os-release":                           "ID=alpine\n",
		"proc/sys/kernel/osrelease":                "6.12.48\n",
		"boot/config-6.12.48":                      "# CONFIG_X is not set\nCONFIG_BRIDGE=m\nCONFIG_VETH=y\n",
		"lib/modules/6.12.48/modules.dep":          "",
		"run/openrc/softlevel":                     "default",
		"sbin/openrc-run":                          "",
		"sbin/rc-service":                          "",
		"proc/self/mounts":                         "c /sys/fs/cgroup/memory cgroup rw,memory 0 0\nc /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\nu /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
		"sys/fs/cgroup/unified/cgroup.controllers": "hugetlb\n",
		"proc/cgroups":                             "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t9\t1\nmemory\t2\t9\t0\npids\t3\t9\t1\n",
		"proc/meminfo":                             "MemTotal: 1024 kB\nMemAvailable: 512 kB\n",
		"proc/swaps":                               "Filename Type Size Used Priority\n/dev/sda2 partition 2048 0 -2\n/swap file 1024 0 -3\n",
		"proc/net/tcp":                             socketTable + "   0: 00000000:192B 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n   1: 0100007F:280A 00000000:0000 01 0:0 0:0 0 0 0 4712 1\n",
		"proc/net/tcp6":                            socketTable + "   0: 0000:192C 0000:0000 0A 0:0 0:0 0 0 0 99 1\n",
		"proc/net/udp":                             socketTable + "   0: 00000000:2118 00000000:0000 07 0:0 0:0 0 0 0 0 1\n",
		"proc/42/fd/7":                             "->socket:[4711]",
		"proc/42/comm":                             "haproxy\n",
		"proc/42/ns/pid":                           "->pid:[1]",
		"proc/self/ns/pid":                         "->pid:[1]",
		"proc/43/comm":                             "dockerd\n",
		"proc/43/ns/pid":                           "->pid:[1]",
		"proc/44/comm":                             "kubelet\n", // in a container
		"proc/44/ns/pid":                           "->pid:[2]",
		"sys/class/net/cni0/address":               "x",
		"sbin/iptables-save":                       "",
		"sbin/iptables-legacy-save":                "",
		"usr/sbin/firewall-cmd":                    "",
		"usr/sbin/ufw":                             "",
		"usr/bin/timedatectl":                      "",
		"etc/ufw/ufw.conf":                         "ENABLED=yes\n",
		"usr/local/bin/k3s-uninstall.sh":           "",
		"var/lib/rancher/k3s/server/db/state.db":   "",
		"sys/module/apparmor/parameters/enabled":   "Y\n",
		"sys/fs/selinux/enforce":                   "1",
		"var/lib/labctl/ledger.json":               `{"version":1,"cluster":"labctl","entries":[{"kind":"k3s","path":"/usr/local/bin/k3s-uninstall.sh"}]}`,
	})
	m.Exec = func(_ context.Context, c machine.Command) (probe.Exit, error) {
		switch filepath.Base(c.Argv[0]) {
		case "iptables-save":
			return probe.Exit{Stdout: []byte("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A KUBE-SERVICES -j x\n")}, nil
		case "iptables-legacy-save":
			return probe.Exit{Code: 1}, nil
		case "timedatectl":
			return probe.Exit{Stdout: []byte("no\n")}, nil
		}
		return probe.Exit{}, nil
	}
	b, err := CollectBox(t.Context(), BoxOptions{Machine: m})
	if err != nil {
		t.Fatal(err)
	}
	if b.Distro.ID != "alpine" || b.Init != "" || b.Kernel != "6.12.48" || !b.Modules || b.Config["BRIDGE"] != "m" || b.ConfigFile != "/boot/config-6.12.48" {
		t.Errorf("system: %+v", b)
	}
	if b.Cgroup != "mixed" || !slices.Equal(b.Controllers, []string{"cpu"}) {
		t.Errorf("cgroups %s, %v: memory is off, pids isn't mounted", b.Cgroup, b.Controllers)
	}
	if b.MemTotal != 1<<20 || b.Swap != 3<<20 || b.Size == 0 || b.NTP != "no" || b.NewestFile == "" {
		t.Errorf("resources: %+v", b)
	}
	want := []TakenPort{{6443, false, "the API server", "haproxy (pid 42)"}, {6444, false, "the API server's local access", "another program"}, {flannelPort, true, "Flannel's VXLAN", "the kernel"}}
	if !slices.Equal(b.Ports, want) {
		t.Errorf("ports %+v", b.Ports)
	}
	if !slices.Equal(b.Interfaces, []string{"cni0"}) || b.Chains != 2 {
		t.Errorf("network: %v, %d", b.Interfaces, b.Chains)
	}
	if b.K3s.Binary != "" || b.K3s.Uninstall != "/usr/local/bin/k3s-uninstall.sh" || !slices.Equal(b.K3s.Data, []string{"/var/lib/rancher/k3s/server/db"}) {
		t.Errorf("K3s: %+v", b.K3s)
	}
	if !b.Labctl || b.Interrupted != "the installation of K3s" || !b.AppArmor || b.Parser || !b.SELinux || !slices.Equal(b.Firewalls, []string{"firewalld", "ufw"}) {
		t.Errorf("%+v", b)
	}
	if !slices.Equal(b.Others, []Process{{"dockerd", 43}}) {
		t.Errorf("others: %+v", b.Others)
	}
	if b.Trials != nil {
		t.Error("another root was tried on this machine's kernel")
	}
}

func TestKernelConfigOfTheKernelItself(t *testing.T) {
	m := files(t, map[string]string{"boot/config-6": "CONFIG_A=n\n", "lib/modules/6/config": "CONFIG_B=y\n"})
	f, err := os.Create(m.Path("/config.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte("CONFIG_A=y\n"))
	if err := firstError(err, z.Close(), f.Close(), os.MkdirAll(m.Path("/proc"), 0o755), os.Rename(m.Path("/config.gz"), m.Path("/proc/config.gz"))); err != nil {
		t.Fatal(err)
	}
	if config, file := kernelConfig(m, "6"); file != "/proc/config.gz" || config["A"] != "y" {
		t.Errorf("%s: %v", file, config)
	}
	// One that is damaged is passed over.
	if err := os.WriteFile(m.Path("/proc/config.gz"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if config, file := kernelConfig(m, "6"); file != "/boot/config-6" || config["A"] != "n" {
		t.Errorf("%s: %v", file, config)
	}
	if config, file := kernelConfig(m, "7"); file != "" || config != nil {
		t.Errorf("%s: %v", file, config)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// The machine that runs the tests: whatever it is, looking breaks nothing and
// leaves nothing behind.
func TestCheckBoxHere(t *testing.T) {
	before, err := filepath.Glob("/var/lib/.labctl-doctor-*")
	if err != nil {
		t.Fatal(err)
	}
	findings, err := CheckBox(t.Context(), BoxOptions{}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Logf("%s %s: %s → %s", f.Level, f.ID, f.What, f.Remedy)
	}
	after, err := filepath.Glob("/var/lib/.labctl-doctor-*")
	if err != nil || len(after) > len(before) {
		t.Errorf("left: %v, %v", after, err)
	}
}
