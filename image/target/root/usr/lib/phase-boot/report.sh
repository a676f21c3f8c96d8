#!/bin/sh
# Writes one line of JSON with the version, the mode, the rootfs and facts of the hand-over document
# to the console, to the virtio port for events, and to /run/phase/www/report.json, which the unit
# phase-report.service serves on port 80.
read -r command_line </proc/cmdline
version= mode=
# The daemon's parameters come first on the command line, so the first occurrence counts.
set -f
for word in $command_line; do
	case $word in
	phase.version=*) version=${version:-${word#*=}} ;;
	phase.mode=*) mode=${mode:-${word#*=}} ;;
	esac
done
set +f
read -r rootfs </run/phase/rootfs.sha256
case $(uname -m) in x86_64) arch=amd64 ;; *) arch=arm64 ;; esac
read -r now _ </proc/uptime

# The network, the sources and the number of events in the hand-over document.
handoff=$(awk '
	/^ "(network|sources)": / { inside = 1 }
	inside { gsub(/^ +/, ""); printf "%s", $0 }
	/^},?$/ || /\{\},?$/ { inside = 0 }
' /run/phase/handoff.json)
events=$(grep -c '^  "{' /run/phase/handoff.json)

mkdir -p /run/phase/www
cat >/run/phase/www/report.json <<END
{"event":"target.report","seq":0,"at":$now,"version":"$version","mode":"$mode","rootfs":"$rootfs","kernel":"$(uname -r)","arch":"$arch","handed":{$handoff"events":${events:-0}}}
END
cat /run/phase/www/report.json >/dev/console
port=$(grep -lx org.phase_boot.events /sys/class/virtio-ports/*/name 2>/dev/null)
if [ "$port" ]; then
	port=${port%/name}
	cat /run/phase/www/report.json >"/dev/${port##*/}"
fi
