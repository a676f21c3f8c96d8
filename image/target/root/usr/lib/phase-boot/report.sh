#!/bin/sh
# Reports in one JSON line the system, its rootfs and what the handoff document says of this boot: on
# the console, on the virtio port for events, and in the file that its unit serves as
# http://<this machine>/report.json.
read -r command_line </proc/cmdline
version= mode=
# The daemon's words come first on the command line: the first of several counts.
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

# From the handoff document: the network, the sources, and the number of events.
handed=$(awk '
	/^ "(network|sources)": / { inside = 1 }
	inside { gsub(/^ +/, ""); printf "%s", $0 }
	/^},?$/ || /\{\},?$/ { inside = 0 }
' /run/phase/handoff.json)
events=$(grep -c '^  "{' /run/phase/handoff.json)

mkdir -p /run/phase/www
cat >/run/phase/www/report.json <<END
{"event":"target.report","seq":0,"at":$now,"version":"$version","mode":"$mode","rootfs":"$rootfs","kernel":"$(uname -r)","arch":"$arch","handed":{$handed"events":${events:-0}}}
END
cat /run/phase/www/report.json >/dev/console
port=$(grep -lx org.phase_boot.events /sys/class/virtio-ports/*/name 2>/dev/null)
if [ "$port" ]; then
	port=${port%/name}
	cat /run/phase/www/report.json >"/dev/${port##*/}"
fi
