#!/bin/sh
# udhcpc calls this when it has a lease.
case $1 in
bound | renew)
	ip addr flush dev "$interface"
	ip addr add "$ip/${mask:-24}" dev "$interface"
	[ "$router" ] && ip route add default via "${router%% *}" dev "$interface"
	for server in $dns; do echo "nameserver $server"; done >/run/resolv.conf
	;;
esac
