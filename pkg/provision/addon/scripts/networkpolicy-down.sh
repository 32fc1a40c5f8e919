# Everything that Cilium's agent and its plug-in left on a node, and what was
# there before them.
state=/var/lib/labctl/network-policy

# The chain first: new Pods get the node's own again.
rm -f /etc/cni/net.d/05-cilium.conflist /opt/cni/bin/cilium-cni /opt/cni/bin/.cilium-cni-*
# A call of the plug-in that waits for the agent would wait on, and make its
# log's folder anew; the kubelet asks again, and then the node's own chain.
for exe in /proc/[0-9]*/exe; do
	case $(readlink "$exe" 2>/dev/null) in
	/opt/cni/bin/cilium-cni*)
		process=${exe#/proc/}
		kill -KILL "${process%/exe}" 2>/dev/null || :
		;;
	esac
done

# Programs, then interfaces. Pods keep theirs, without a program on them.
for dev in /sys/class/net/*; do
	dev=${dev##*/}
	for at in ingress egress; do
		if tc filter show dev "$dev" "$at" 2>/dev/null | grep -q ' cil_'; then
			tc qdisc del dev "$dev" clsact
			break
		fi
	done
done
if [ -e /sys/class/net/cilium_host ]; then
	ip link delete cilium_host # its peer, cilium_net, goes with it
fi
for family in -4 -6; do
	ip "$family" rule | awk '$NF == 2004 || $NF == 2005 { print $1 + 0 }' | while read -r priority; do
		ip "$family" rule delete priority "$priority"
	done
	for table in 2004 2005; do
		ip "$family" route flush table "$table" 2>/dev/null || :
	done
done

# Its chains, and what leads to them.
for tables in iptables ip6tables; do
	for table in raw mangle nat filter; do
		rules=$("$tables" -w -t "$table" -S 2>/dev/null) || continue
		echo "$rules" | grep -E -- '-j (OLD_)?CILIUM_' | grep -v -E '^-A (OLD_)?CILIUM_' | sed 's/^-A/-D/' | xargs -r -L1 "$tables" -w -t "$table"
		chains=$(echo "$rules" | sed -n -E 's/^-N ((OLD_)?CILIUM_.*)$/\1/p')
		for chain in $chains; do "$tables" -w -t "$table" -F "$chain"; done
		for chain in $chains; do "$tables" -w -t "$table" -X "$chain"; done
	done
done

# Maps and programs that are pinned end with their pins.
rm -rf /sys/fs/bpf/cilium /sys/fs/bpf/tc/globals/cilium_* /run/cilium
rmdir /sys/fs/bpf/tc/globals /sys/fs/bpf/tc 2>/dev/null || :
if [ -e "$state/bpffs" ]; then
	umount /sys/fs/bpf || ! grep -q ' /sys/fs/bpf bpf ' /proc/self/mounts
fi
[ ! -e "$state/rp_filter" ] || cat "$state/rp_filter" >/proc/sys/net/ipv4/conf/all/rp_filter
[ ! -e "$state/fib_multipath_use_neigh" ] || cat "$state/fib_multipath_use_neigh" >/proc/sys/net/ipv4/fib_multipath_use_neigh
rm -rf "$state"
