#!/bin/sh
# Makes a Debian root with kind's static files a kind node: what the RUN lines
# of kind's images/base/Dockerfile do.
set -eu

# Units that are of no use in a container, or harm the host.
cd /usr/lib/systemd/system
rm -f sysinit.target.wants/systemd-tmpfiles-setup.service \
	multi-user.target.wants/* local-fs.target.wants/* basic.target.wants/* \
	sockets.target.wants/*udev* sockets.target.wants/*initctl*
rm -f /etc/systemd/system/*.wants/*
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service # binfmt_misc is the host kernel's

mkdir -p /etc/kubernetes/manifests
ctr oci spec | jq '
	.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}]
	| del(.process.rlimits)' >/etc/containerd/cri-base.json
# Without CAP_SYS_RESOURCE no process may get a lower OOM score than its
# parent's. Where containerd runs with -999, as its unit file wants, the
# restriction changes nothing.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' /etc/containerd/config.toml
