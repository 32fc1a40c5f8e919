# What Cilium needs of a node, and what it changes there, so that it can be
# put back. Exit code 69: this node can't have it.
state=/var/lib/labctl/network-policy
all=/proc/sys/net/ipv4/conf/all/rp_filter
multipath=/proc/sys/net/ipv4/fib_multipath_use_neigh

if ! ls /etc/cni/net.d/*.conflist >/dev/null 2>&1 || [ ! -d /opt/cni/bin ]; then
	echo "the node's CNI configuration is not in /etc/cni/net.d with plug-ins in /opt/cni/bin: there is no chain that Cilium could join" >&2
	exit 69
fi
mkdir -p "$state"
if ! grep -q ' /sys/fs/bpf bpf ' /proc/self/mounts; then
	if ! mount -t bpf bpffs /sys/fs/bpf; then
		echo "the kernel has no BPF file system, or doesn't let this node mount it on /sys/fs/bpf" >&2
		exit 69
	fi
	: >"$state/bpffs"
fi
for file in "$all" "$multipath"; do
	kept=$state/${file##*/}
	[ -e "$kept" ] || [ ! -e "$file" ] || cat "$file" >"$kept"
done
