#!/bin/sh
# Puts the images of the archive on stdin into containerd's content store.
set -eu
containerd --log-level warn </dev/null >/tmp/containerd.log 2>&1 &
pid=$!
tries=0
until ctr version >/dev/null 2>&1; do
	tries=$((tries + 1))
	if [ "$tries" -gt 300 ] || ! kill -0 "$pid"; then
		cat /tmp/containerd.log >&2
		exit 1
	fi
	sleep 0.1
done
ctr -n k8s.io images import --all-platforms --no-unpack --digests --label io.cri-containerd.pinned=pinned -
kill "$pid"
wait "$pid" || true
