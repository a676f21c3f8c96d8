#!/bin/sh
# The last resort, when the daemon has failed twice: the same program, which asks a person before
# it tries anything. Where not even that runs there is only the way back to the firmware.
export PATH=/usr/bin:/usr/sbin HOME=/root TERM=${TERM:-linux}
phase-boot daemon --ask && exit
for console in $(cat /sys/class/tty/console/active); do
	printf '\nPhase Boot cannot run on this machine. It restarts in a minute.\n' >"/dev/$console"
done
sleep 60
exec systemctl reboot
