# Device functions that /init of the seed and of the target source as /devices.sh.
# shellcheck shell=sh
loaded=

# Loads a driver for every device on the buses $1 (a pattern) that has appeared since the last
# call.
load_drivers() {
	# shellcheck disable=SC2086 # the pattern is to be expanded
	aliases=$(cat /sys/bus/$1/devices/*/modalias 2>/dev/null)
	[ "$aliases" = "$loaded" ] && return
	loaded=$aliases
	# shellcheck disable=SC2086 # one alias, one word
	modprobe -q -a -b $aliases 2>/dev/null
}

# Prints the GUID of the partition in the sysfs folder $1. The kernel does not export it; our images
# have their partition table in the third sector, 128 bytes per entry.
identifier() {
	read -r number <"$1/partition" || return
	read -r sector <"$1/../queue/logical_block_size" || return
	at=$((2 * sector + 128 * (number - 1) + 16))
	device=${1%/*}
	hexdump -v -s $at -n 16 -e '1/4 "%08x" "-" 2/2 "%04x-" 2/1 "%02x" "-" 6/1 "%02x"' \
		"/dev/${device##*/}" 2>/dev/null
}

# Prints the port of the disk in the sysfs folder $1, without the numbers that depend on the order of
# enumeration: phase_boot/adapters/boot/sysfs_disks.py spells it the same way.
location() {
	place=${1#/sys/devices}
	case $place in
	*/ata[0-9]*/host*)
		controller=${1%%/host*}
		read -r port <"$controller/ata_port/${controller##*/}/port_no" || return
		place=${place%%/ata[0-9]*}/ata$port/host${place#*/host}
		;;
	esac
	echo "$place" | sed -E -e 's,/block/[^/]+$,,' \
		-e 's,/(usb|host|virtio|nvme|mmc|target)[0-9]+,/\1,g' \
		-e 's,/[0-9]+(-[0-9]|:[0-9]+:[0-9]+:[0-9]+),/\1,g'
}
