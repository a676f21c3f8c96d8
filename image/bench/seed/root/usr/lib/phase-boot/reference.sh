#!/bin/sh
# The reference of `make bench-boot`: the shortest script that boots the same target. It trusts the
# mirror, checks hashes, and jumps by kexec. `phase.reference=<base URL>` starts it as process 1
# instead of systemd; $1 is that URL. Only sticks that are built with --measured contain it.
export PATH=/usr/bin:/usr/sbin
base=$1 channel=stable
# shellcheck source=image/initramfs/devices.sh
. /usr/lib/phase-boot/devices.sh
case $(uname -m) in x86_64) arch=amd64 ;; *) arch=arm64 ;; esac

mark() {
	read -r now _ </proc/uptime
	echo "$1 $now" >>/run/phase-boot/stages
	echo "reference: $1 $now" >/dev/console
}

fail() {
	echo "reference: $1" >/dev/console
	while :; do sleep 3600; done
}

field() {
	sed -n "s/.*\"$1\" *: *\"$2\([^\"]*\)\".*/\1/p" /run/manifest
}

fetch() {
	wget -q -O "$2" "$base/cas/sha256/$1" || fail "$base did not serve $1"
	echo "$1  $2" | sha256sum -c -s || fail "$1 has wrong content"
}

mark reference
# shellcheck disable=SC2046 # one alias, one word
modprobe -q -a -b $(cat /sys/bus/virtio/devices/*/modalias /sys/bus/pci/devices/*/modalias) ext4
ip link set lo up
for interface in /sys/class/net/e*; do interface=${interface##*/}; ip link set "$interface" up; done
udhcpc -q -n -f -t 20 -T 1 -i "$interface" -s /usr/lib/phase-boot/udhcpc.sh >/dev/null 2>&1 ||
	fail "no address on $interface"
mark address
wget -q -O - "$base/$channel/$arch/manifest.json" | tr -d '\n' >/run/manifest
rootfs=$(field rootfs sha256:)
[ "$rootfs" ] || fail "$base has no manifest for $channel/$arch"
mark manifest

read -r disk </run/phase-boot/disk
cache=$(grep -lx PARTNAME=phase-cache "/sys/class/block/$disk"/*/uevent)
cache=$(readlink -f "${cache%/uevent}")
mount -t ext4 "/dev/${cache##*/}" /cache || fail "Cache cannot be mounted"
mkdir -p /cas/sha256
fetch "$(field kernel sha256:)" /run/kernel
fetch "$(field initramfs sha256:)" /run/initramfs
fetch "$rootfs" "/cas/sha256/$rootfs"
umount /cache
mark fetched

# The target mounts the Cache partition that the hand-over document names.
mkdir /run/phase
printf '{\n "cache": {\n  "guid": "%s",\n  "location": "%s"\n }\n}\n' "$(identifier "$cache")" \
	"$(location "${cache%/*}")" >/run/phase/handoff.json
head -c $((4 - $(stat -c %s /run/initramfs) % 4)) /dev/zero >>/run/initramfs
(cd /run && printf 'phase\nphase/handoff.json\n' | cpio -o -H newc) >>/run/initramfs 2>/dev/null ||
	fail "the hand-over document cannot be appended"

line="phase.mode=reference phase.version=$(field version) phase.rootfs=sha256:$rootfs"
kexec -a --no-checks -l /run/kernel --initrd=/run/initramfs \
	--command-line="$line $(field cmdline)" || fail "the kernel cannot be loaded"
mark loaded
# Report the marks as the events that the daemon sends.
port=$(grep -lx org.phase_boot.events /sys/class/virtio-ports/*/name)
port=${port%/name}
[ "$port" ] && awk -v now="$now" '{
	printf "{\"event\":\"stage\",\"seq\":%d,\"at\":%s,\"name\":\"%s\",\"reached\":%s}\n", NR, now, $1, $2
}' /run/phase-boot/stages >"/dev/${port##*/}"
exec kexec -e
