WORK=$(mktemp -d /var/tmp/labctl.XXXXXX) || exit 70
export WORK
clean() {
	cut -d' ' -f2 /proc/self/mounts | grep "^$WORK/" | sort -r | xargs -r umount &&
		rm -rf --one-file-system "$WORK"
}
trap clean EXIT
trap 'exit 143' TERM INT HUP
# Nobody may be reading any more; cleaning goes on all the same.
trap : PIPE
cd "$WORK" || exit 70
sh -eu -c "$1"
