#!/bin/sh
# Mounts Plasma's folder of the Cache partition writable, and the rest of the partition read-only.
# If that fails, it reports why, and Plasma's folder stays in memory like the rest of /var.
cache=/run/phase/cache
keep=/var/lib/plasma

say() {
	echo "Plasma: Cache cannot be written to ($1), so this boot's receipts are not kept." |
		tee /dev/kmsg >/dev/console
	exit 1
}

read -r command_line </proc/cmdline
mode=
# The daemon's words come first on the command line: the first of several counts.
set -f
for word in $command_line; do
	case $word in phase.mode=*) mode=${mode:-${word#*=}} ;; esac
done
set +f
case $mode in internet | local) ;; *) exit 0 ;; esac

said=$(mount -o remount,rw,noatime,nodev,nosuid,noexec $cache 2>&1) || say "$said"
said=$(mkdir -p $cache/plasma 2>&1 && mount --bind $cache/plasma $keep 2>&1)
done=$?
# The file system stays writable through the bound folder alone.
mount -o remount,bind,ro,noatime,nodev,nosuid,noexec $cache
[ $done = 0 ] || say "$said"
