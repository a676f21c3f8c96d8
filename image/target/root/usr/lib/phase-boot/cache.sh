#!/bin/sh
# Mounts Plasma's folder of the Cache partition writable, and the rest of the partition read-only. On
# a failure it reports the cause, and Plasma's folder stays in the tmpfs overlay.
cache=/run/phase/cache
plasma=/var/lib/plasma

fail() {
	echo "Plasma: Cache cannot be written to ($1), so this boot's receipts are not kept." |
		tee /dev/kmsg >/dev/console
	exit 1
}

read -r command_line </proc/cmdline
mode=
# The daemon's parameters come first on the command line, so the first occurrence counts.
set -f
for word in $command_line; do
	case $word in phase.mode=*) mode=${mode:-${word#*=}} ;; esac
done
set +f
case $mode in internet | local) ;; *) exit 0 ;; esac

output=$(mount -o remount,rw,noatime,nodev,nosuid,noexec $cache 2>&1) || fail "$output"
output=$(mkdir -p $cache/plasma 2>&1 && mount --bind $cache/plasma $plasma 2>&1)
status=$?
# Only the bind mount of Plasma's folder stays writable.
mount -o remount,bind,ro,noatime,nodev,nosuid,noexec $cache
[ $status = 0 ] || fail "$output"
