// One step of attention, a block for each row of the batch.
//
//   score[s]  = energy · tanh(query + bias + key[s])                    additive
//             + γ ln(shifted(previous)[s] + 1e-8)                       location-relative: additive and this
//   weight    = softmax(score) over the real positions, 0 elsewhere
//   context   = Σ_s weight[s] value[s]
//
// The queries of a row are its query, then, for location-relative attention, three controls of the shift and
// one of the sharpness: k = softmax(controls), shifted[s] = k₀ previous[s+1] + k₁ previous[s] + k₂ previous[s-1],
// γ = 1 + softplus(sharpness).

#define CONTROLS 4
#define FLOOR 1e-8f

struct Attention {
    int batch, len, units, values; // B, S, A, C
    int query_stride;              // of a row of the queries and of their gradients
    int context_stride;            // of a row of the contexts and of their gradients
    int has_prior;
};

struct Prior {
    float kernel[3], gamma, sharpness;
};

__device__ __forceinline__ Prior prior_of(const float *query, const float *bias, int units) {
    Prior prior;
    float controls[CONTROLS];
    for (int at = 0; at < CONTROLS; at++) controls[at] = query[units + at] + bias[units + at];
    const float largest = fmaxf(controls[0], fmaxf(controls[1], controls[2]));
    float sum = 0.0f;
    for (int tap = 0; tap < 3; tap++) sum += prior.kernel[tap] = expf(controls[tap] - largest);
    for (int tap = 0; tap < 3; tap++) prior.kernel[tap] /= sum;
    prior.sharpness = controls[3];
    prior.gamma = 1.0f + fmaxf(controls[3], 0.0f) + log1pf(expf(-fabsf(controls[3])));
    return prior;
}

// Σ_o k[o] weights[s - o], 0 beyond both ends.
__device__ __forceinline__ float shifted(const Prior &prior, const float *weights, int s, int length) {
    float sum = prior.kernel[1] * weights[s];
    if (s + 1 < length) sum += prior.kernel[0] * weights[s + 1];
    if (s > 0) sum += prior.kernel[2] * weights[s - 1];
    return sum;
}

// `keys` is [S, B, A], `values` [S, B, C]; `previous` and `weights` are [B, S].
extern "C" __global__ void attend(Attention size, const u32 *lengths, const float *queries, const float *bias,
                                  const float *energy, const float *keys, const float *values, const float *previous,
                                  float *weights, float *contexts) {
    __shared__ float scratch[WARP];
    const int row = blockIdx.x, length = lengths[row], thread = threadIdx.x;
    const int lane = thread % WARP, warp = thread / WARP, warps = blockDim.x / WARP;
    const float *query = queries + (size_t)row * size.query_stride;
    float *own = weights + (size_t)row * size.len;
    for (int s = warp; s < length; s += warps) {
        const float *key = keys + ((size_t)s * size.batch + row) * size.units;
        float score = 0.0f;
        for (int a = lane; a < size.units; a += WARP) score += energy[a] * tanhf(query[a] + bias[a] + key[a]);
        score = warp_sum(score);
        if (lane == 0) own[s] = score;
    }
    __syncthreads();
    if (size.has_prior) {
        const Prior prior = prior_of(query, bias, size.units);
        const float *before = previous + (size_t)row * size.len;
        for (int s = thread; s < length; s += blockDim.x) own[s] += prior.gamma * logf(shifted(prior, before, s, length) + FLOOR);
    }
    float largest = -INFINITY;
    for (int s = thread; s < length; s += blockDim.x) largest = fmaxf(largest, own[s]);
    largest = block_max(largest, scratch);
    float sum = 0.0f;
    for (int s = thread; s < length; s += blockDim.x) sum += own[s] = expf(own[s] - largest);
    sum = block_sum(sum, scratch);
    for (int s = thread; s < size.len; s += blockDim.x) own[s] = s < length ? own[s] / sum : 0.0f;
    __syncthreads();
    for (int c = thread; c < size.values; c += blockDim.x) {
        const float *value = values + (size_t)row * size.values + c;
        float context = 0.0f;
        for (int s = 0; s < length; s++) context += own[s] * value[(size_t)s * size.batch * size.values];
        contexts[(size_t)row * size.context_stride + c] = context;
    }
}

// The gradients of the queries replace `d_queries`. Those of the keys, [S, B, A], and of the energy, row by row,
// [B, A], are added to, except at the last step, which comes first. `d_weights`, [B, S], holds the gradient of
// this step's weights from the step after, and gets that of the weights before; it is scratch without a prior.
extern "C" __global__ void attend_backward(Attention size, const u32 *lengths, int is_first, const float *queries,
                                           const float *bias, const float *energy, const float *keys, const float *values,
                                           const float *previous, const float *weights, const float *d_contexts,
                                           float *d_queries, float *d_keys, float *d_energy, float *d_weights,
                                           float *d_scores) {
    __shared__ float scratch[WARP];
    const int row = blockIdx.x, length = lengths[row], thread = threadIdx.x;
    const int lane = thread % WARP, warp = thread / WARP, warps = blockDim.x / WARP;
    const float *query = queries + (size_t)row * size.query_stride;
    const float *own = weights + (size_t)row * size.len, *d_context = d_contexts + (size_t)row * size.context_stride;
    float *d_query = d_queries + (size_t)row * size.query_stride;
    float *d_weight = d_weights + (size_t)row * size.len, *d_score = d_scores + (size_t)row * size.len;
    // forward: context = Σ_s weight[s] value[s]
    for (int s = warp; s < length; s += warps) {
        const float *value = values + ((size_t)s * size.batch + row) * size.values;
        float d = 0.0f;
        for (int c = lane; c < size.values; c += WARP) d += d_context[c] * value[c];
        d = warp_sum(d);
        if (lane == 0) d_score[s] = d + (size.has_prior && !is_first ? d_weight[s] : 0.0f);
    }
    __syncthreads();
    // forward: weight = softmax(score)
    float dot = 0.0f;
    for (int s = thread; s < length; s += blockDim.x) dot += own[s] * d_score[s];
    dot = block_sum(dot, scratch);
    for (int s = thread; s < length; s += blockDim.x) d_score[s] = own[s] * (d_score[s] - dot);
    __syncthreads();
    // forward: score[s] = Σ_a energy[a] tanh(query[a] + bias[a] + key[s, a])
    for (int a = thread; a < size.units; a += blockDim.x) {
        const float q = query[a] + bias[a], e = energy[a];
        float d_q = 0.0f, d_e = 0.0f;
        for (int s = 0; s < size.len; s++) {
            const size_t at = ((size_t)s * size.batch + row) * size.units + a;
            if (s >= length) {
                if (is_first) d_keys[at] = 0.0f;
                continue;
            }
            const float t = tanhf(q + keys[at]);
            const float d_sum = d_score[s] * e * (1.0f - t * t);
            d_e += d_score[s] * t;
            d_q += d_sum;
            d_keys[at] = is_first ? d_sum : d_keys[at] + d_sum;
        }
        d_query[a] = d_q;
        float *d_own = d_energy + (size_t)row * size.units + a;
        *d_own = is_first ? d_e : *d_own + d_e;
    }
    if (!size.has_prior) return;
    // forward: score[s] += γ ln(shifted[s] + floor)
    const Prior prior = prior_of(query, bias, size.units);
    const float *before = previous + (size_t)row * size.len;
    float d_gamma = 0.0f, d_kernel[3] = {0.0f, 0.0f, 0.0f};
    __syncthreads(); // every thread has read the gradients of the scores
    for (int s = thread; s < length; s += blockDim.x) {
        const float moved = shifted(prior, before, s, length) + FLOOR;
        const float d_moved = d_score[s] * prior.gamma / moved;
        d_gamma += d_score[s] * logf(moved);
        if (s + 1 < length) d_kernel[0] += d_moved * before[s + 1];
        d_kernel[1] += d_moved * before[s];
        if (s > 0) d_kernel[2] += d_moved * before[s - 1];
        d_score[s] = d_moved;
    }
    __syncthreads();
    for (int s = thread; s < size.len; s += blockDim.x) {
        float d = 0.0f;
        if (s < length) {
            d = prior.kernel[1] * d_score[s];
            if (s > 0) d += prior.kernel[0] * d_score[s - 1];
            if (s + 1 < length) d += prior.kernel[2] * d_score[s + 1];
        }
        d_weight[s] = d;
    }
    d_gamma = block_sum(d_gamma, scratch);
    float mean = 0.0f;
    for (int tap = 0; tap < 3; tap++) {
        d_kernel[tap] = block_sum(d_kernel[tap], scratch);
        mean += prior.kernel[tap] * d_kernel[tap];
    }
    if (thread == 0) {
        for (int tap = 0; tap < 3; tap++) d_query[size.units + tap] = prior.kernel[tap] * (d_kernel[tap] - mean);
        d_query[size.units + 3] = d_gamma * sigmoid(prior.sharpness);
    }
}

// d_value[s] = Σ_t weight[t, s] d_context[t], after all steps; a block for each position of each row.
// `weights` is [T, B, S], `d_values` [S, B, C]; rows of `d_contexts`, [T, B, C], are `context_stride` apart.
extern "C" __global__ void values_backward(Attention size, int steps, const float *weights, const float *d_contexts,
                                           float *d_values) {
    const int row = blockIdx.x % size.batch, s = blockIdx.x / size.batch;
    for (int c = threadIdx.x; c < size.values; c += blockDim.x) {
        float d = 0.0f;
        for (int t = 0; t < steps; t++) {
            const size_t at = (size_t)t * size.batch + row;
            d += weights[at * size.len + s] * d_contexts[at * size.context_stride + c];
        }
        d_values[(size_t)blockIdx.x * size.values + c] = d;
    }
}

// The weights before the first step: 1 at the first (`start` 1) or last (2) real position of each row, or 0.
extern "C" __global__ void start_weights(float *weights, const u32 *lengths, int batch, int len, int start) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= batch * len) return;
    const int s = index % len, position = start == 1 ? 0 : start == 2 ? (int)lengths[index / len] - 1 : -1;
    weights[index] = s == position ? 1.0f : 0.0f;
}
