// The norm of the gradients and Adam's update, over many tensors in one launch: blockIdx.y is the tensor.

#define TENSORS 32
#define SPAN 8192 // numbers that a block of squares() adds

// Four arrays of `n` numbers for each tensor, as far as the kernel needs them.
struct Tensors {
    float *arrays[TENSORS][4];
    u64 n[TENSORS];
};

// The sums of the squares of each span of each tensor; `first` is the index of each tensor's first span.
struct Spans {
    const float *arrays[TENSORS];
    u64 n[TENSORS];
    u32 first[TENSORS];
};

extern "C" __global__ void squares(Spans tensors, double *sums) {
    __shared__ double partial[256];
    const int tensor = blockIdx.y, thread = threadIdx.x;
    const u64 n = tensors.n[tensor], start = (u64)blockIdx.x * SPAN;
    if (start >= n) return;
    const u64 end = start + SPAN < n ? start + SPAN : n;
    double sum = 0.0;
    for (u64 at = start + thread; at < end; at += blockDim.x) {
        const double x = tensors.arrays[tensor][at];
        sum += x * x;
    }
    partial[thread] = sum;
    __syncthreads();
    for (int apart = blockDim.x / 2; apart > 0; apart /= 2) {
        if (thread < apart) partial[thread] += partial[thread + apart];
        __syncthreads();
    }
    if (thread == 0) sums[tensors.first[tensor] + blockIdx.x] = partial[0];
}

// The sum of `n` sums, in an order that depends on `n` alone.
extern "C" __global__ void total(const double *sums, double *total, int n) {
    __shared__ double partial[256];
    const int thread = threadIdx.x;
    double sum = 0.0;
    for (int at = thread; at < n; at += blockDim.x) sum += sums[at];
    partial[thread] = sum;
    __syncthreads();
    for (int apart = blockDim.x / 2; apart > 0; apart /= 2) {
        if (thread < apart) partial[thread] += partial[thread + apart];
        __syncthreads();
    }
    if (thread == 0) *total = partial[0];
}

struct Adam {
    float scale, rate, kept, beta1, rest1, beta2, rest2, inverse1, inverse2, epsilon;
};

// The arrays are parameter, gradient, first and second moment. `squared_norm`, [1], may be null; otherwise the gradients
// are scaled so that their norm is at most `clip`, if that is not 0, and nothing is changed by a norm that is not finite.
extern "C" __global__ void adam(Tensors tensors, Adam step, const double *squared_norm, double clip) {
    float *const *arrays = tensors.arrays[blockIdx.y];
    float scale = step.scale;
    if (squared_norm != nullptr) {
        const double norm = sqrt(*squared_norm);
        if (!(norm < INFINITY)) return;
        if (clip > 0.0 && norm > clip) scale *= (float)(clip / norm);
    }
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < tensors.n[blockIdx.y]; at += (u64)gridDim.x * blockDim.x) {
        const float g = arrays[1][at] * scale;
        const float m = step.beta1 * arrays[2][at] + step.rest1 * g;
        const float v = step.beta2 * arrays[3][at] + step.rest2 * (g * g);
        arrays[2][at] = m;
        arrays[3][at] = v;
        arrays[0][at] = step.kept * arrays[0][at] - step.rate * ((m * step.inverse1) / (sqrtf(v * step.inverse2) + step.epsilon));
    }
}

// Copies array 1 to array 0.
extern "C" __global__ void copy_all(Tensors tensors) {
    float *const *arrays = tensors.arrays[blockIdx.y];
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < tensors.n[blockIdx.y]; at += (u64)gridDim.x * blockDim.x) {
        arrays[0][at] = arrays[1][at];
    }
}
