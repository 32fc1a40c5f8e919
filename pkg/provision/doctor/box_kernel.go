package doctor

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// feature is something that K3s wants of the kernel.
type feature string

// The features that are tried where they can be.
const (
	namespaces feature = "namespaces"
	overlay    feature = "overlayfs"
	bridge     feature = "bridge"
	vxlan      feature = "vxlan"
	netfilter  feature = "netfilter"
	cgroupsOf  feature = "cgroups"
	ipcs       feature = "keys and message queues"
	bandwidth  feature = "CPU limits"
	syscalls   feature = "seccomp"
)

// need is a feature with the kernel's options that it takes: of those joined
// by | any one. They are those that `k3s check-config` asks for (moby's
// contrib/check-config.sh).
type need struct {
	feature feature
	options []string
	level   Level
	without string // what doesn't work without it
}

var needs = []need{
	{namespaces, []string{"NAMESPACES", "NET_NS", "PID_NS", "IPC_NS", "UTS_NS"}, Missing, "containers"},
	{cgroupsOf, []string{"CGROUPS", "CGROUP_PIDS", "CGROUP_DEVICE|CGROUP_BPF", "CGROUP_SCHED", "CPUSETS", "MEMCG"}, Missing, "the kubelet"},
	{overlay, []string{"OVERLAY_FS"}, Missing, "containerd's snapshots below /var/lib/rancher"},
	{bridge, []string{"VETH", "BRIDGE", "BRIDGE_NETFILTER"}, Missing, "the network of Pods"},
	{netfilter, []string{
		"NF_TABLES|IP_NF_IPTABLES", "NF_NAT|IP_NF_NAT", "NF_CONNTRACK", "NETFILTER_XT_TARGET_MASQUERADE|IP_NF_TARGET_MASQUERADE|NFT_MASQ",
		"NETFILTER_XT_MATCH_ADDRTYPE", "NETFILTER_XT_MATCH_COMMENT", "NETFILTER_XT_MATCH_CONNTRACK", "NETFILTER_XT_MATCH_MULTIPORT", "NETFILTER_XT_MATCH_STATISTIC",
	}, Missing, "Services and network policies"},
	{ipcs, []string{"KEYS", "POSIX_MQUEUE"}, Missing, "runc"},
	{vxlan, []string{"VXLAN"}, Warning, "Flannel between nodes; one node alone can do with another backend (flannel-backend: host-gw)"},
	{bandwidth, []string{"CFS_BANDWIDTH"}, Warning, "limits of CPU"},
	{syscalls, []string{"SECCOMP_FILTER"}, Warning, "the profile RuntimeDefault"},
}

// absent are a need's options that the kernel doesn't have: as far as its
// configuration says, modules only if there are any.
func (n need) absent(b Box) []string {
	var out []string
	for _, option := range n.options {
		has := slices.ContainsFunc(strings.Split(option, "|"), func(o string) bool {
			v := b.Config[o]
			return v == "y" || v == "m" && b.Modules
		})
		if !has {
			out = append(out, "CONFIG_"+strings.ReplaceAll(option, "|", " or CONFIG_"))
		}
	}
	return out
}

// kernelConfig reads the running kernel's configuration, from the kernel
// itself or from where distributions keep it.
func kernelConfig(m machine.Machine, release string) (map[string]string, string) {
	for _, file := range []string{"/proc/config.gz", "/boot/config-" + release, "/lib/modules/" + release + "/config", "/usr/lib/modules/" + release + "/config"} {
		f, err := os.Open(m.Path(file))
		if err != nil {
			continue
		}
		config, err := parseConfig(f, strings.HasSuffix(file, ".gz"))
		_ = f.Close() // only read
		if err == nil && len(config) > 0 {
			return config, file
		}
	}
	return nil, ""
}

func parseConfig(r io.Reader, zipped bool) (map[string]string, error) {
	if zipped {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("kernel's configuration: %w", err)
		}
		r = z
	}
	config := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		option, value, ok := strings.Cut(lines.Text(), "=")
		if name, is := strings.CutPrefix(option, "CONFIG_"); ok && is {
			config[name] = value
		}
	}
	return config, lines.Err()
}
