#!/bin/sh
# Turns networkd's list of name servers into resolv.conf, at once whole.
sed -n 's/^DNS=//p' /run/systemd/netif/state | tr ' ' '\n' | sed -n 's/^..*/nameserver &/p' \
	>/run/phase-boot/resolv.conf.new
mv /run/phase-boot/resolv.conf.new /run/phase-boot/resolv.conf
