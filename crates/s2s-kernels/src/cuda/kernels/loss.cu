// Predictions and the loss of a batch, a warp for each position.

// Adds the bias to `logits`, [rows, V], and finds the largest of each row, the first of equal ones. `forbidden` is
// a token that is not chosen, or V. `log_probs` may be null.
extern "C" __global__ void predict(float *logits, const float *bias, u32 *predictions, float *log_probs, int rows, int vocab,
                                   int forbidden) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= rows) return;
    float *own = logits + (size_t)row * vocab;
    float largest = -INFINITY;
    int best = vocab;
    for (int v = lane; v < vocab; v += WARP) {
        const float logit = own[v] + bias[v];
        own[v] = logit;
        if (v != forbidden && (logit > largest || best == vocab)) {
            largest = logit;
            best = v;
        }
    }
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(EVERY_LANE, largest, apart);
        const int at = __shfl_xor_sync(EVERY_LANE, best, apart);
        if (at != vocab && (best == vocab || other > largest || (other == largest && at < best))) {
            largest = other;
            best = at;
        }
    }
    if (lane == 0) predictions[row] = best;
    if (log_probs == nullptr) return;
    float sum = 0.0f;
    for (int v = lane; v < vocab; v += WARP) sum += v == forbidden ? 0.0f : expf(own[v] - largest);
    sum = warp_sum(sum);
    if (lane == 0) log_probs[row] = -logf(sum);
}

// Replaces `logits`, [T, B, V], by their gradients of a scale times the loss with label smoothing; `numbers`, [2], are
// the two. `losses`, [T, B], are the negative log-likelihoods of the targets, [B, T], without smoothing. Losses and
// gradients are 0 at padded positions.
extern "C" __global__ void token_loss(float *logits, const u32 *targets, const u32 *lengths, float *losses, const float *numbers,
                                      int batch, int len, int vocab) {
    const int index = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (index >= batch * len) return;
    const int step = index / batch, row = index % batch;
    float *own = logits + (size_t)index * vocab;
    if (step >= (int)lengths[row]) {
        for (int v = lane; v < vocab; v += WARP) own[v] = 0.0f;
        if (lane == 0) losses[index] = 0.0f;
        return;
    }
    const int target = targets[(size_t)row * len + step];
    float largest = -INFINITY;
    for (int v = lane; v < vocab; v += WARP) largest = fmaxf(largest, own[v]);
    largest = warp_max(largest);
    float sum = 0.0f;
    for (int v = lane; v < vocab; v += WARP) sum += expf(own[v] - largest);
    sum = warp_sum(sum);
    if (lane == 0) losses[index] = logf(sum) - (own[target] - largest);
    __syncwarp();
    const float scale = numbers[0], smoothing = numbers[1], other = smoothing / vocab;
    for (int v = lane; v < vocab; v += WARP) {
        own[v] = scale * (expf(own[v] - largest) / sum - other - (v == target ? 1.0f - smoothing : 0.0f));
    }
}
