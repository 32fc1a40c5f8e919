# shellcheck shell=sh
# What the node knows about the container $1 of containerd's CRI plugin, a
# line of NAME=VALUE each.
set -eu
echo "release=$(uname -r)"
echo "version=$(uname -v)"
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
echo "type=$(ctr -n k8s.io containers ls | awk -v id="$1" '$1 == id { print $NF }')"
pid=$(ctr -n k8s.io tasks ls | awk -v id="$1" '$1 == id { print $2 }')
echo "comm=$(cat "/proc/$pid/comm")"
echo "program=$(tr '\0' '\n' <"/proc/$pid/cmdline" | head -n 1)"
parent=$(awk '$1 == "PPid:" { print $2 }' "/proc/$pid/status")
echo "shim=$(tr '\0' '\n' <"/proc/$parent/cmdline" | head -n 1)"
