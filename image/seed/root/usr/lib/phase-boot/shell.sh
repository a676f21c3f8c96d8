#!/bin/sh
# Runs after two failures of the daemon: starts it with the menu before the first candidate. If it
# fails again, the machine restarts.
export PATH=/usr/bin:/usr/sbin HOME=/root TERM=${TERM:-linux}
phase-boot daemon --ask && exit
for console in $(cat /sys/class/tty/console/active); do
	printf '\nPhase Boot cannot run on this machine. It restarts in a minute.\n' >"/dev/$console"
done
sleep 60
exec systemctl reboot
