#!/usr/bin/env bash
# Checks a binary of s2s on a device and times it there, in under eight minutes:
#
#     scripts/device_check.sh BINARY [FOLDER]        # results in FOLDER, by default ./device_check
#     DEVICE=cpu scripts/device_check.sh target/release/s2s
#     scripts/device_check.sh BINARY FOLDER --only timing --seconds 120
#
# It writes FOLDER/device_check.json after every result and FOLDER/device_check.log, and it needs no
# network. PyTorch is measured if `python3` has it. The libraries of CUDA come from that Python too, or
# from the system. Test binaries beside BINARY, named tests-*, are run as well; see device_pack.sh. Files
# with .xz beside BINARY are unpacked first.

set -eu

here=$(dirname "$(readlink -f "$0")")
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
binary=$1
folder=${2:-device_check}
shift $(($# > 1 ? 2 : 1))

python3 - "$(dirname "$binary")" <<'PYTHON'
import lzma, pathlib, shutil, sys
for packed in pathlib.Path(sys.argv[1]).glob("*.xz"):
    path = packed.with_suffix("")
    if not path.exists():
        with lzma.open(packed) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        path.chmod(0o755)
PYTHON

libraries=$(python3 - <<'PYTHON'
import glob, site, sys
roots = {*site.getsitepackages(), *sys.path}
print(":".join(sorted({path for root in roots if root for path in glob.glob(root + "/nvidia/*/lib")}, reverse=True)))
PYTHON
)
export LD_LIBRARY_PATH="$libraries:/usr/local/cuda/lib64:/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONUNBUFFERED=1
exec python3 "$here/device_check.py" "$binary" "$folder" --device "${DEVICE:-cuda}" "$@"
