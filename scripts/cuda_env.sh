#!/usr/bin/env bash
# Prints the variables that a build with `--features cuda` needs, as `export` lines:
#
#     eval "$(scripts/cuda_env.sh)"
#     cargo build --release -p s2s-cli --features cuda
#
# Without an argument: the toolkit in $CUDA_HOME or of the nvcc on the PATH, if there is one. Otherwise,
# or with a folder as the argument, a pinned toolkit from PyPI in that folder (~/.cache/s2s-cuda), which
# is installed on the first call: 0.7 GB to download, 1.2 GB on disk. Neither needs a GPU.
#
# Kept if set: CUDA_COMPUTE_CAP (else that of this machine's GPU, else 90) and CUDARC_CUDA_VERSION.
# Messages go to standard error. docs/devices.md explains the rest.

set -euo pipefail

# CUDA 13.0, which every driver from 580 on can load. PTX of a newer compiler needs a newer driver.
readonly PACKAGES=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-nvrtc==13.0.88
    nvidia-cuda-cccl==13.0.85
    nvidia-cublas==13.1.0.3
    nvidia-curand==10.4.0.35
)
readonly LIBRARIES=(cudart cublas cublasLt curand nvrtc)

say() { echo "cuda_env.sh: $*" >&2; }
die() { say "$@"; exit 1; }

# The root of a regular toolkit, or nothing.
regular_toolkit() {
    local nvcc
    if [[ -n ${CUDA_HOME:-} && -x $CUDA_HOME/bin/nvcc ]]; then
        nvcc=$CUDA_HOME/bin/nvcc
    else
        nvcc=$(command -v nvcc) || return 0
    fi
    dirname "$(dirname "$(readlink -f "$nvcc")")"
}

# Installs the pinned toolkit into $1. A second call finds the list of packages that the first one left.
install() {
    local folder=$1 root=$1/nvidia/cu13 name
    if [[ "$(cat "$folder/installed" 2>/dev/null)" == "${PACKAGES[*]}" ]]; then
        return
    fi
    say "installing CUDA 13.0 into $folder"
    mkdir -p "$folder"
    rm -rf "$folder/installed" "$folder/nvidia"
    python3 -m pip install --quiet --no-deps --only-binary=:all: --no-compile --no-cache-dir \
        --target "$folder" --upgrade "${PACKAGES[@]}" >&2
    for name in "${LIBRARIES[@]}"; do # the packages hold libcublas.so.13, and the linker wants libcublas.so
        local versioned=("$root/lib/lib$name.so."*)
        ln -sf "$(basename "${versioned[0]}")" "$root/lib/lib$name.so"
    done
    ln -sfn lib "$root/lib64"
    driver_stub "$root"
    echo "${PACKAGES[*]}" >"$folder/installed"
}

# libcuda comes with the driver and in no package. The linker needs only its names, so this makes a
# function of every name in cuda.h, which returns CUDA_ERROR_STUB_LIBRARY as NVIDIA's own stub does.
# When the program runs, the loader finds the real library.
driver_stub() {
    mkdir -p "$1/lib/stubs"
    grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$1/include/cuda.h" | sort -u | sed 's/.*/int &(void) { return 34; }/' \
        | "${CC:-cc}" -shared -x c -Wl,-soname,libcuda.so.1 -o "$1/lib/stubs/libcuda.so" -
}

# Compiles and links one kernel that calls every library, so that a broken toolkit shows here and not
# ten minutes into a build. Its release goes to standard output.
verify() {
    local root=$1 scratch release
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of this call
    trap "rm -rf '$scratch'" EXIT
    release=$("$root/bin/nvcc" --version | sed -nE 's/.*release ([0-9]+\.[0-9]+).*/\1/p')
    [[ -n $release ]] || die "$root/bin/nvcc --version does not print a release"
    cat >"$scratch/probe.cu" <<'PROBE'
#include <cuda.h>
#include <cublas_v2.h>
#include <cublasLt.h>
#include <curand.h>
#include <nvrtc.h>
#include <cuda_fp16.h>
__global__ void twice(float *x) { x[threadIdx.x] *= 2.0f; }
int main() {
    int n; cublasHandle_t a; cublasLtHandle_t b; curandGenerator_t c;
    twice<<<1, 1>>>(nullptr);
    return cuInit(0) + cublasCreate(&a) + cublasLtCreate(&b) + nvrtcVersion(&n, &n)
        + curandCreateGenerator(&c, CURAND_RNG_PSEUDO_DEFAULT);
}
PROBE
    "$root/bin/nvcc" -arch="sm_$2" -cudart shared -o "$scratch/probe" "$scratch/probe.cu" \
        -L"$root/lib64" -L"$root/lib64/stubs" -lcuda -lcublas -lcublasLt -lcurand -lnvrtc >&2 \
        || die "the toolkit in $root cannot compile and link a kernel for sm_$2"
    echo "$release"
}

# The compute capability to build for: 90 is sm_90, the H100.
compute_cap() {
    local found
    found=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .) || true
    if [[ ! $found =~ ^[0-9]+$ ]]; then
        say "no GPU in this machine: building for compute capability 9.0; set CUDA_COMPUTE_CAP for another"
        found=90
    fi
    echo "$found"
}

main() {
    local root='' cap release version
    [[ $# -le 1 && ${1:-} != -* ]] || die "usage: eval \"\$(scripts/cuda_env.sh [FOLDER])\""
    [[ $# -eq 1 ]] || root=$(regular_toolkit)
    if [[ -z $root ]]; then
        local folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/s2s-cuda}
        install "$folder"
        root=$(readlink -f "$folder")/nvidia/cu13
    fi
    cap=${CUDA_COMPUTE_CAP:-$(compute_cap)}
    release=$(verify "$root" "$cap")
    version=${CUDARC_CUDA_VERSION:-$((${release%.*} * 1000 + ${release#*.} * 10))} # 13.0 is 13000
    say "CUDA $release in $root, for compute capability $cap"
    cat <<EXPORTS
export CUDA_HOME='$root'
export CUDA_PATH='$root'
export CUDA_ROOT='$root'
export CUDA_TOOLKIT_ROOT_DIR='$root'
export CUDA_COMPUTE_CAP='$cap'
export CUDARC_CUDA_VERSION='$version'
export PATH='$root/bin':"\$PATH"
export LIBRARY_PATH='$root/lib64:$root/lib64/stubs'"\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
EXPORTS
}

main "$@"
