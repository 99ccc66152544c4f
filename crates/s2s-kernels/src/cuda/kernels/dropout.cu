// Dropout masks from the stream of ChaCha8 that the CPU reads, so that both draw the same numbers.
// Bernstein (2008), "ChaCha, a variant of Salsa20"; 64-bit counter and nonce, the nonce 0.

#define DRAWS 32 // of 16 bits in a block of 64 bytes

__device__ __forceinline__ u32 rotate(u32 x, int n) { return (x << n) | (x >> (32 - n)); }

__device__ __forceinline__ void quarter(u32 &a, u32 &b, u32 &c, u32 &d) {
    a += b; d = rotate(d ^ a, 16);
    c += d; b = rotate(b ^ c, 12);
    a += b; d = rotate(d ^ a, 8);
    c += d; b = rotate(b ^ c, 7);
}

// `mask[i]` is 0 if draw i is below `threshold`, else `keep`; one thread computes one block of the stream with the
// key `key`, [8].
extern "C" __global__ void dropout_mask(float *mask, const u32 *key, u32 threshold, float keep, u64 n) {
    const u64 block = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (block * DRAWS >= n) return;
    u32 start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (int at = 0; at < 8; at++) start[4 + at] = key[at];
    start[12] = (u32)block;
    start[13] = (u32)(block >> 32);
    start[14] = start[15] = 0;
    u32 x[16];
    for (int at = 0; at < 16; at++) x[at] = start[at];
    for (int round = 0; round < 4; round++) {
        quarter(x[0], x[4], x[8], x[12]);
        quarter(x[1], x[5], x[9], x[13]);
        quarter(x[2], x[6], x[10], x[14]);
        quarter(x[3], x[7], x[11], x[15]);
        quarter(x[0], x[5], x[10], x[15]);
        quarter(x[1], x[6], x[11], x[12]);
        quarter(x[2], x[7], x[8], x[13]);
        quarter(x[3], x[4], x[9], x[14]);
    }
    for (int draw = 0; draw < DRAWS; draw++) {
        const u64 at = block * DRAWS + draw;
        if (at >= n) break;
        const u32 word = x[draw / 2] + start[draw / 2];
        mask[at] = ((word >> (16 * (draw % 2))) & 0xffffu) < threshold ? 0.0f : keep;
    }
}
