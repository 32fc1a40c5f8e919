# What is on the box, a line each, behind a word that says what it is.
find / -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -path /run -prune -o -path /tmp -prune \
	-o -path /lib/modules -prune -o -path /var/log/journal -prune -o -path /var/lib/systemd -prune \
	-o -path /var/cache -prune -o -printf 'file %p\t%y %m %U:%G %l\n'
find / -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -path /run -prune -o -path /tmp -prune \
	-o -path /lib/modules -prune -o -path /var/log/journal -prune -o -path /var/lib/systemd -prune \
	-o -path /var/cache -prune -o -type f -print0 | xargs -0 -r sha256sum -z | tr '\0' '\n' |
	sed -E 's/^(\S+)  (.*)$/sum \2\t\1/'
find /run -maxdepth 1 -mindepth 1 -printf 'file %p\t%y\n'
ps -e -o args= | grep -Ev '^\[|^(ps -e|grep -Ev|sort|sed|sh -s|xargs|bash -s)|^sh -euc' | sort | uniq -c |
	sed -E 's/^ *([0-9]+) (.*)$/process \2\t\1/'
awk '$2 !~ "^/(proc|sys|dev)(/|$)" { print "mount " $2 "\t" $1 " " $3 }' /proc/self/mounts
systemctl list-unit-files --no-legend --no-pager --plain | awk '{ print "unit " $1 "\t" $2 }'
systemctl list-units --all --type=service --no-legend --no-pager --plain |
	awk '$1 !~ "^(systemd-|run-|modprobe@|user@)" && $2 == "loaded" { print "service " $1 "\t" $3 }'
for p in iptables ip6tables; do
	$p-save 2>/dev/null | grep '^-' | sed "s/^/rule $p /; s/\$/\t/"
done
nft list ruleset 2>/dev/null | grep -v '^#' | sed 's/^/nft /; s/$/\t/'
ip -o link | awk -F': ' '{ sub(/@.*/, "", $2); print "link " $2 "\t" }'
ip netns list 2>/dev/null | awk '{ print "netns " $1 "\t" }'
ip route show table all | grep -v 'table local' | sed 's/^/route /; s/$/\t/'
dpkg-query --show --showformat='package ${Package}\t${Version} ${db:Status-Status}\n'
