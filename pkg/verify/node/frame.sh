WORK=$(mktemp -d /var/tmp/labctl.XXXXXX) || exit 70
export WORK
below() { cut -d' ' -f2 /proc/self/mounts | grep "^$WORK/"; }
clean() {
	# A signal may come twice (from labctl and from timeout), and nobody may
	# be reading any more; cleaning goes on all the same.
	trap '' TERM INT HUP PIPE
	# Some may have gone meanwhile, and what is busy goes as soon as it isn't.
	# But nothing is removed while a mount is there: it may show all of /.
	below | sort -r | xargs -r umount -l 2>/dev/null
	[ -n "$(below)" ] || rm -rf --one-file-system "$WORK"
}
trap clean EXIT
trap "trap '' TERM INT HUP; exit 143" TERM INT HUP
trap : PIPE
cd "$WORK" || exit 70
sh -eu -c "$1"
