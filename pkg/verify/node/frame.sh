WORK=$(mktemp -d /var/tmp/labctl.XXXXXX) || exit 70
export WORK
clean() {
	# A signal may come twice (from labctl and from timeout), and nobody may
	# be reading any more; cleaning goes on all the same.
	trap '' TERM INT HUP PIPE
	cut -d' ' -f2 /proc/self/mounts | grep "^$WORK/" | sort -r | xargs -r umount &&
		rm -rf --one-file-system "$WORK"
}
trap clean EXIT
trap "trap '' TERM INT HUP; exit 143" TERM INT HUP
trap : PIPE
cd "$WORK" || exit 70
sh -eu -c "$1"
