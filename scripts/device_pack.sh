#!/usr/bin/env bash
# Builds what scripts/device_check.sh needs on a machine with a GPU that has no Rust and no network,
# into .device/: s2s-cuda.xz, one tests-*.xz for each test binary that can run on a GPU, and source-root.
#
#     scripts/device_pack.sh
#     rsync -a ./ gpu-machine:s2s/ --exclude target
#     ssh gpu-machine 'cd s2s && scripts/device_check.sh .device/s2s-cuda results'
#
# CARGO_TARGET_DIR is respected. The folder is not part of the repository.

set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/.."
out=.device

environment=$(scripts/cuda_env.sh)
eval "$environment"
exclude=$(git rev-parse --git-path info/exclude)
grep -qxF "/$out/" "$exclude" 2>/dev/null || { mkdir -p "$(dirname "$exclude")" && echo "/$out/" >>"$exclude"; }
mkdir -p "$out"
rm -f "$out"/s2s-cuda* "$out"/tests-*

pack() {
    strip -o "$out/$2" "$1"
    xz -3 -T0 --force "$out/$2"
}

# One command, so that both binaries share cargo's choice of features and candle is compiled once.
while read -r kind name file; do
    case $kind in
        bin) pack "$file" s2s-cuda ;;
        test) pack "$file" "tests-$name" ;;
    esac
done < <(
    cargo build --release -p s2s-cli -p s2s-model --features s2s-cli/cuda --bin s2s --test model --message-format=json \
        | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["kind"][0] in ("bin", "test"):
        print(message["target"]["kind"][0], message["target"]["name"], message["executable"])
'
)
[[ -f $out/s2s-cuda.xz ]] || { echo "device_pack.sh: the build failed" >&2; exit 1; }
pwd >"$out/source-root"
ls -l "$out"
