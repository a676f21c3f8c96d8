#!/bin/sh
# new-swarm-key.sh FILE: write a new key of a swarm; every node gets the same file, mode 0600.
set -eu
umask 077
[ ! -e "$1" ] || { echo "$1 exists, and nodes that have it would be cut off: choose another name" >&2; exit 1; }
key=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
printf '/key/swarm/psk/1.0.0/\n/base16/\n%s\n' "$key" >"$1"
