#!/usr/bin/env bash
# Builds what scripts/device_check.sh needs on a machine with a GPU that has no Rust and no network,
# into .device/: s2s-cuda.xz, one tests-*.xz for each test binary that can run on a GPU, and source-root.
#
#     scripts/device_pack.sh
#     rsync -a ./ gpu-machine:s2s/ --exclude target --include .device
#     ssh gpu-machine 'cd s2s && xz -dk .device/*.xz && chmod +x .device/* && scripts/device_check.sh .device/s2s-cuda results'
#
# CARGO_TARGET_DIR is respected. The folder is not part of the repository.

set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/.."
target=${CARGO_TARGET_DIR:-target}
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

# Selecting s2s-cli for both builds keeps cargo's choice of features, so that candle is compiled once.
cargo build --release -p s2s-cli --features cuda
pack "$target/release/s2s" s2s-cuda
while read -r name file; do
    pack "$file" "tests-$name"
done < <(
    cargo test --release --no-run --message-format=json -p s2s-cli -p s2s-model --features s2s-cli/cuda --test model \
        | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["kind"] == ["test"]:
        print(message["target"]["name"], message["executable"])
'
)
pwd >"$out/source-root"
ls -l "$out"
