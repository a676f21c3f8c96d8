#!/bin/sh
# Private mode: gives the network interface $1 a random hardware address before it is brought up. Prints PHASE_ADDRESS=drawn, which 05-private.network matches, only where the kernel
# then shows that very address as set (NET_ADDR_SET); a driver that reports success without a
# change, or has no permanent address to compare, is judged by the same rule.
#
# Usage: private-address.sh INTERFACE [ROOT]. The record ROOT/run/phase-boot/addresses/INDEX has
# two lines: the drawn address, or an empty line and why there is none. It makes a second event of
# the same interface keep its address, and the daemon reads it.
name=$1 root=$2
device=$root/sys/class/net/$name
records=$root/run/phase-boot/addresses

# ARPHRD_ETHER: networkd sets up nothing else in Private.
read -r type <"$device/type" && [ "$type" = 1 ] || exit 1
read -r index <"$device/ifindex" && read -r link <"$device/iflink" || exit 1

# Reads the drawn address of the interface with the index $1.
recorded() {
	drawn=
	[ -f "$records/$1" ] && read -r drawn <"$records/$1"
	[ "$drawn" ]
}

# Reads back whether the kernel shows the drawn address, assigned in one of the ways $1.
shown() {
	read -r address <"$device/address" && read -r assigned <"$device/addr_assign_type" || return 1
	[ "$address" = "$drawn" ] || return 1
	case " $1 " in *" $assigned "*) ;; *) return 1 ;; esac
}

# Sets $drawn: 46 random bits, locally administered, unicast.
draw() {
	# shellcheck disable=SC2046 # six words
	set -- $(od -A n -t x1 -N 6 /dev/urandom)
	[ $# = 6 ] || return 1
	drawn=$(printf '%02x' $(((0x$1 & 0xfc) | 0x02))):$2:$3:$4:$5:$6
}

refuse() {
	keep '' "$1"
	echo "<4>Phase Boot: $name keeps its burned-in hardware address ($1); Private does not use it" \
		>"$root/dev/kmsg"
	echo PHASE_ADDRESS=kept
	exit 0
}

keep() {
	mkdir -p "$records" && printf '%s\n%s\n' "$1" "$2" >"$records/.$index" &&
		mv "$records/.$index" "$records/$index"
}

# An earlier event has set it. 3 is NET_ADDR_SET.
recorded "$index" && shown 3 && echo PHASE_ADDRESS=drawn && exit 0

# A VLAN has the drawn address of the interface below it. 2 is NET_ADDR_STOLEN.
if [ "$link" != "$index" ] && recorded "$link" && shown "2 3"; then
	keep "$drawn" '' && echo PHASE_ADDRESS=drawn && exit 0
fi

read -r flags <"$device/flags" || exit 1
[ $((flags & 1)) = 0 ] || refuse "it was up before an address was drawn"
draw || refuse "no random address could be drawn"
said=$(ip link set dev "$name" address "$drawn" 2>&1) ||
	refuse "the driver refuses another one: ${said##*: }"
shown 3 || refuse "the driver reports another one as set and does not use it"
keep "$drawn" '' || exit 1
echo PHASE_ADDRESS=drawn
