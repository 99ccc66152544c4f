// All kernels, as one module. Arrays are row-major in f32; activations are time-major, [S, B, H], and what
// belongs to a row of the batch, such as token ids, lengths and dropout masks, is batch-major, [B, S].
// A null pointer stands for an optional array that is absent.
//
// Every sum has a fixed order, so that a run has the same bytes each time: no kernel uses atomics.

#define WARP 32
#define EVERY_LANE 0xffffffffu

typedef unsigned int u32;
typedef unsigned long long u64;

// The sum over a warp, in every lane.
__device__ __forceinline__ float warp_sum(float x) {
    for (int apart = WARP / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(EVERY_LANE, x, apart);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
    for (int apart = WARP / 2; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(EVERY_LANE, x, apart));
    return x;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// The sum over a block, in every thread. `scratch` has WARP numbers.
__device__ __forceinline__ float block_sum(float x, float *scratch) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads(); // the scratch of a call before
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? scratch[lane] : 0.0f);
}

__device__ __forceinline__ float block_max(float x, float *scratch) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_max(x);
    __syncthreads();
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    return warp_max(scratch[lane < warps ? lane : 0]);
}

#include "recurrent.cu"
#include "attention.cu"
#include "loss.cu"
#include "table.cu"
#include "optim.cu"
#include "dropout.cu"
