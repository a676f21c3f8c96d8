#!/bin/sh
# Lets Plasma write to its own folder of the Cache partition, and nobody to anything else there.
# What cannot be written to is said, and then Plasma's folder is in memory as the rest of /var is.
cache=/run/phase/cache
keep=/var/lib/plasma

say() {
	echo "Plasma: Cache cannot be written to ($1), so this boot's receipts are not kept." |
		tee /dev/kmsg >/dev/console
	exit 1
}

read -r command_line </proc/cmdline
mode=
# The hand-over's words come first on the command line: of several the first counts.
set -f
for word in $command_line; do
	case $word in phase.mode=*) mode=${mode:-${word#*=}} ;; esac
done
set +f
case $mode in internet | local) ;; *) exit 0 ;; esac

said=$(mount -o remount,rw,noatime,nodev,nosuid,noexec $cache 2>&1) || say "$said"
said=$(mkdir -p $cache/plasma 2>&1 && mount --bind $cache/plasma $keep 2>&1)
done=$?
# The file system stays writable by way of the folder that was bound, and by no other.
mount -o remount,bind,ro,noatime,nodev,nosuid,noexec $cache
[ $done = 0 ] || say "$said"
