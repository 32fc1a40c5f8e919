#!/bin/sh
# Installer of the K3s stand-in (e2e/k3sbox/README.md). It keeps the documented
# contract of K3s's own install.sh - variables, files, scripts, messages that
# people look for - and is written anew: this is not Rancher's script.
#
#   INSTALL_K3S_SKIP_DOWNLOAD   true, binary or selinux: the binary is in place
#   INSTALL_K3S_VERSION, _CHANNEL, _CHANNEL_URL   what to download otherwise
#   INSTALL_K3S_BIN_DIR         folder of the binary, links and scripts
#   INSTALL_K3S_BIN_DIR_READ_ONLY   write nothing there
#   INSTALL_K3S_SYSTEMD_DIR     folder of the unit and its environment file
#   INSTALL_K3S_EXEC            command and flags; arguments are added
#   INSTALL_K3S_NAME            the service is k3s-NAME then
#   INSTALL_K3S_TYPE            type of the systemd service
#   INSTALL_K3S_SYMLINK         skip or force
#   INSTALL_K3S_SKIP_ENABLE, _SKIP_START, _FORCE_RESTART   true
#   INSTALL_K3S_SKIP_SELINUX_RPM, _SELINUX_WARN   nothing to do: no SELinux here
#   K3S_*, CONTAINERD_*, *_PROXY   go to the service's environment file
set -eu

info() { echo "[INFO]  $*"; }
fatal() {
	echo "[ERROR]  $*" >&2
	exit 1
}
is_true() { [ "${1:-}" = true ]; }

[ "$(id -u)" -eq 0 ] || fatal 'The stand-in is installed as root'

# --- service manager ---
manager=
if [ -x /sbin/openrc-run ]; then
	manager=openrc
elif command -v systemctl >/dev/null 2>&1; then
	manager=systemd
else
	fatal 'Can not find systemd or openrc to use as a process supervisor for k3s'
fi

# --- command: of INSTALL_K3S_EXEC, then the arguments ---
# shellcheck disable=SC2086 # words of the variable are arguments
eval set -- "$(printf '%s' "${INSTALL_K3S_EXEC:-}" | sed 's/[][!#$%&()*;<=>?\\_`{|}]/\\&/g')" '"$@"'
command=server
case "${1:-}" in
'' | -*)
	if [ -n "${K3S_URL:-}" ]; then
		[ -n "${K3S_TOKEN:-}${K3S_TOKEN_FILE:-}" ] ||
			fatal "Defaulted k3s exec command to 'agent' because K3S_URL is defined, but K3S_TOKEN or K3S_TOKEN_FILE is not defined."
		command=agent
	fi
	;;
*)
	command=$1
	shift
	;;
esac
case "${K3S_URL:-}" in
'' | https://*) ;;
*) fatal "Only https:// URLs are supported for K3S_URL (have $K3S_URL)" ;;
esac

# --- names and folders ---
if [ -n "${INSTALL_K3S_NAME:-}" ]; then
	service=k3s-$INSTALL_K3S_NAME
elif [ "$command" = server ]; then
	service=k3s
else
	service=k3s-$command
fi
case $service in
*[!A-Za-z0-9.@:_-]*) fatal "Invalid characters for system name: $service" ;;
esac
bin=${INSTALL_K3S_BIN_DIR:-/usr/local/bin}
units=${INSTALL_K3S_SYSTEMD_DIR:-/etc/systemd/system}
uninstall=$bin/$service-uninstall.sh
killall=$bin/k3s-killall.sh
if [ "$manager" = systemd ]; then
	service_file=$units/$service.service
	env_file=$service_file.env
else
	service_file=/etc/init.d/$service
	env_file=/etc/rancher/k3s/$service.env
	mkdir -p /etc/rancher/k3s
fi
hashes() { sha256sum "$bin/k3s" "$service_file" "$env_file" 2>/dev/null || true; }
before=$(hashes)

# --- binary ---
fetch() { # URL FILE
	if command -v curl >/dev/null; then
		curl -sfL -o "$2" "$1"
	elif command -v wget >/dev/null; then
		wget -qO "$2" "$1"
	else
		fatal 'Can not find curl or wget for downloading files'
	fi || fatal "Download failed: $1"
}
download() {
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 suffix= ;;
	aarch64 | arm64) arch=arm64 suffix=-arm64 ;;
	*) fatal "Unsupported architecture $(uname -m)" ;;
	esac
	releases=${GITHUB_URL:-https://github.com/k3s-io/k3s/releases}
	version=${INSTALL_K3S_VERSION:-}
	if [ -z "$version" ]; then
		channel=${INSTALL_K3S_CHANNEL_URL:-https://update.k3s.io/v1-release/channels}/${INSTALL_K3S_CHANNEL:-stable}
		info "Finding release for channel ${INSTALL_K3S_CHANNEL:-stable}"
		version=$(curl -w '%{url_effective}' -L -s -S -o /dev/null "$channel" | sed 's|.*/||')
	fi
	info "Using $version as release"
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	fetch "$releases/download/$version/sha256sum-$arch.txt" "$tmp/sums"
	want=$(sed -n "s/ \{1,\}k3s$suffix\$//p" "$tmp/sums")
	if [ -x "$bin/k3s" ] && [ "$(sha256sum <"$bin/k3s" | cut -d' ' -f1)" = "$want" ]; then
		info 'Skipping binary downloaded, installed k3s matches hash'
		return
	fi
	fetch "$releases/download/$version/k3s$suffix" "$tmp/k3s"
	info 'Verifying binary download'
	[ "$(sha256sum <"$tmp/k3s" | cut -d' ' -f1)" = "$want" ] || fatal "Download sha256 does not match $want"
	info "Installing k3s to $bin/k3s"
	install -m 0755 "$tmp/k3s" "$bin/k3s"
}
case "${INSTALL_K3S_BIN_DIR_READ_ONLY:-}${INSTALL_K3S_SKIP_DOWNLOAD:-}" in
true* | binary | *true)
	info 'Skipping k3s download and verify'
	[ -x "$bin/k3s" ] || fatal "Executable k3s binary not found at $bin/k3s"
	;;
*) download ;;
esac
info 'Skipping installation of SELinux RPM'

# --- links and scripts ---
links() {
	[ "${INSTALL_K3S_SYMLINK:-}" != skip ] || return 0
	for cmd in kubectl crictl ctr; do
		if [ "${INSTALL_K3S_SYMLINK:-}" = force ] || { [ ! -e "$bin/$cmd" ] && ! command -v $cmd >/dev/null 2>&1; }; then
			info "Creating $bin/$cmd symlink to k3s"
			ln -sf k3s "$bin/$cmd"
		elif [ -e "$bin/$cmd" ]; then
			info "Skipping $bin/$cmd symlink to k3s, already exists"
		else
			info "Skipping $bin/$cmd symlink to k3s, command exists in PATH at $(command -v $cmd)"
		fi
	done
}

scripts() {
	info "Creating killall script $killall"
	cat >"$killall" <<'EOF'
#!/bin/sh
# Stops K3s and every container it started, and takes its mounts, network
# namespaces, interfaces and packet filter rules away.
[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env=K3S_DATA_DIR "$0" "$@"
data=${K3S_DATA_DIR:-/var/lib/rancher/k3s}

for unit in /etc/systemd/system/k3s*.service; do
	[ -s "$unit" ] && systemctl stop "$(basename "$unit")"
done
for init in /etc/init.d/k3s*; do
	[ -x "$init" ] && "$init" stop
done

# The shims of this data folder, with all that runs below them.
tree() {
	for pid in "$@"; do
		echo "$pid"
		# shellcheck disable=SC2046 # one word a process
		tree $(ps -e -o ppid= -o pid= | awk -v p="$pid" '$1 == p { print $2 }')
	done
}
shims=$(ps -e -o pid= -o args= | awk -v d="$data/data/" 'index($2, d) == 1 && $2 ~ "/bin/containerd-shim" { print $1 }')
# shellcheck disable=SC2046,SC2086
[ -z "$shims" ] || kill -9 $(tree $shims) 2>/dev/null

for below in /run/k3s /var/lib/kubelet/pods /var/lib/kubelet/plugins /run/netns/cni-; do
	awk -v b="$below" 'index($2, b) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r dir; do
		umount -f "$dir" && rm -rf "$dir"
	done
done
ip netns show 2>/dev/null | awk '/^cni-/ { print $1 }' | while read -r ns; do
	ip netns delete "$ns"
done
ip -o link show master cni0 2>/dev/null | awk -F': ' '{ sub(/@.*/, "", $2); print $2 }' | while read -r dev; do
	ip link delete "$dev"
done
for dev in cni0 flannel.1 flannel-v6.1 kube-ipvs0 flannel-wg flannel-wg-v6; do
	ip link delete "$dev" 2>/dev/null
done
rm -rf /var/lib/cni/
for tables in iptables ip6tables; do
	command -v $tables-save >/dev/null || continue
	$tables-save | grep -v KUBE- | grep -v CNI- | grep -iv flannel | $tables-restore
done
exit 0
EOF
	info "Creating uninstall script $uninstall"
	cat >"$uninstall" <<EOF
#!/bin/sh
# Takes K3s off this machine.
[ "\$(id -u)" -eq 0 ] || exec sudo --preserve-env=K3S_DATA_DIR "\$0" "\$@"
data=\${K3S_DATA_DIR:-/var/lib/rancher/k3s}

$killall

if command -v systemctl >/dev/null; then
	systemctl disable $service
	systemctl reset-failed $service
	systemctl daemon-reload
fi
if command -v rc-update >/dev/null; then
	rc-update delete $service default
fi
rm -f $service_file $env_file
trap 'rm -f $uninstall' EXIT

if ls $units/k3s*.service /etc/init.d/k3s* 2>/dev/null | grep -q .; then
	echo 'Additional k3s services installed, skipping uninstall of k3s'
	exit
fi
for cmd in kubectl crictl ctr; do
	[ ! -L $bin/\$cmd ] || rm -f $bin/\$cmd
done
rm -rf /etc/rancher/k3s /run/k3s /run/flannel
# A mount of the user's below the data folder stays, and what is in it.
clean() {
	if ! grep -q " \$1" /proc/mounts; then
		rm -rf "\$1"
		return
	fi
	for path in "\$1"/*; do
		if [ ! -d "\$path" ]; then
			rm -f "\$path"
		elif ! grep -q " \$path " /proc/mounts; then
			clean "\$path"
		fi
	done
}
clean "\$data"
rm -rf /var/lib/kubelet
rm -f $bin/k3s $killall
EOF
	chmod 755 "$killall" "$uninstall"
}
if ! is_true "${INSTALL_K3S_BIN_DIR_READ_ONLY:-}"; then
	links
	scripts
fi

# --- service ---
if [ "$manager" = systemd ]; then
	systemctl disable "$service" >/dev/null 2>&1 || true
fi
info "env: Creating environment file $env_file"
mkdir -p "${env_file%/*}"
(umask 077 && : >"$env_file")
chmod 600 "$env_file"
{
	export -p | sed -nE "s/^export ((K3S|CONTAINERD)_[A-Za-z0-9_]*=.*)/\1/p"
	export -p | sed -nE "s/^export ((NO|HTTP|HTTPS|no|http|https)_(PROXY|proxy)=.*)/\1/p"
} >"$env_file"

flags() {
	for arg in "$@"; do
		printf "\t'%s' \\\\\n" "$(printf '%s' "$arg" | sed "s/'/'\\\\''/g")"
	done
}
if [ "$manager" = systemd ]; then
	info "systemd: Creating service file $service_file"
	cat >"$service_file" <<EOF
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=${INSTALL_K3S_TYPE:-notify}
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-$env_file
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=$bin/k3s \\
    $command \\
$(flags "$@")

EOF
else
	info "openrc: Creating service file $service_file"
	log=/var/log/$service.log
	cat >"$service_file" <<EOF
#!/sbin/openrc-run

depend() {
    after network-online
    want cgroups
}

start_pre() {
    rm -f /tmp/k3s.*
}

supervisor=supervise-daemon
name=$service
command="$bin/k3s"
command_args="$command $(flags "$@" | sed 's/"/\\"/g')
    >>$log 2>&1"

output_log=$log
error_log=$log

pidfile="/var/run/$service.pid"
respawn_delay=5
respawn_max=0

set -o allexport
if [ -f /etc/environment ]; then . /etc/environment; fi
if [ -f $env_file ]; then . $env_file; fi
set +o allexport
EOF
	chmod 755 "$service_file"
	mkdir -p /etc/logrotate.d
	printf '%s {\n\tmissingok\n\tnotifempty\n\tcopytruncate\n}\n' "$log" >"/etc/logrotate.d/$service"
fi

# --- enable and start ---
! is_true "${INSTALL_K3S_SKIP_ENABLE:-}" || exit 0
if [ "$manager" = systemd ]; then
	info "systemd: Enabling $service unit"
	systemctl enable "$service_file" >/dev/null
	systemctl daemon-reload >/dev/null
else
	info "openrc: Enabling $service service for default runlevel"
	rc-update add "$service" default >/dev/null
fi
! is_true "${INSTALL_K3S_SKIP_START:-}" || exit 0
if [ "$before" = "$(hashes)" ] && ! is_true "${INSTALL_K3S_FORCE_RESTART:-}"; then
	info 'No change detected so skipping service start'
	exit 0
fi
if [ "$manager" = systemd ]; then
	info "systemd: Starting $service"
	systemctl restart "$service"
else
	info "openrc: Starting $service"
	"$service_file" restart
fi
