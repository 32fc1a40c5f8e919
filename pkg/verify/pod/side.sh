# What a node knows about the container $1 of containerd's CRI plugin; with
# $2 = processes, also every process of the node. Sections begin with @.
set -eu
date '+@clock %s%N'
info=$(ctr -n k8s.io containers info "$1")
sandbox=$(printf '%s\n' "$info" | sed -n 's/.*"io.kubernetes.cri.sandbox-id": "\([0-9a-f]*\)".*/\1/p')
printf '@container\n%s\n' "$info"
printf '@sandbox\n%s\n' "$(ctr -n k8s.io containers info "$sandbox")"
# containerd's folder is where its content store says that it is.
root=$(ctr plugins list --detailed id==content | sed -n 's/^[[:space:]]*root[[:space:]]*\(.*\)\/io\.containerd\.content\.v1\.content$/\1/p')
printf '@status\n%s\n' "$(cat "$root/io.containerd.grpc.v1.cri/containers/$1/status")"
[ "$2" = processes ] || exit 0
echo @processes
cd /proc
# Processes come and go meanwhile: what can't be read any more is no error.
find [0-9]* -maxdepth 1 -name exe -printf '%p:%l\n' 2>/dev/null || :
grep -aHs '' [0-9]*/cmdline [0-9]*/cgroup || :
grep -aHsE '^(Name|PPid|VmRSS|Seccomp):' [0-9]*/status || :
grep -aHs '^Pss:' [0-9]*/smaps_rollup || :
