#!/bin/sh
# First program of the box: makes the container a place where systemd boots
# (https://systemd.io/CONTAINER_INTERFACE/), and becomes it.
set -eu
mount -o remount,ro /sys
mount --make-rshared /
if ! grep -Eqs '^[0-9a-f]{32}$' /etc/machine-id; then
	rm -f /etc/machine-id
	systemd-machine-id-setup
fi
exec /usr/lib/systemd/systemd
