#!/bin/sh
# configure.sh FILE...: make the node of $IPFS_PATH (or ~/.ipfs), with the settings of the files.
# IPFS is the program. A node that exists keeps its identity and its blocks.
set -eu
ipfs=${IPFS:-ipfs}
[ -e "${IPFS_PATH:-$HOME/.ipfs}/config" ] || "$ipfs" init --profile=autoconf-off
for file in "$@"; do
	jq -r 'to_entries[] | [.key, (.value | tojson)] | join("\t")' "$file" |
		while IFS="$(printf '\t')" read -r key value; do
			"$ipfs" config --json "$key" "$value"
		done
done
