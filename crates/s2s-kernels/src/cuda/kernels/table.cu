// Embeddings, sums of columns and copies.

// `output`, [n, B, E], is the embedding of the tokens from position `first` on, times their dropout factors;
// `ids` is [B, len], `mask` [B, len, E]. With `forced`, [B, len], a token that is not forced is first replaced by
// `predictions`, [B]; then n is 1.
extern "C" __global__ void embed(float *output, const float *table, u32 *ids, const u32 *forced,
                                 const u32 *predictions, const float *mask, int first, int n, int batch, int len, int width) {
    const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= (size_t)n * batch * width) return;
    const int unit = index % width, row = index / width % batch, position = first + index / width / batch;
    const size_t at = (size_t)row * len + position;
    u32 id;
    if (forced != nullptr && !forced[at]) {
        id = predictions[row];
        if (unit == 0) ids[at] = id;
    } else {
        id = ids[at];
    }
    output[index] = table[(size_t)id * width + unit] * (mask == nullptr ? 1.0f : mask[at * width + unit]);
}

// The gradient of the table, from that of the output of all positions; a block for each token. Positions are summed
// in their order.
extern "C" __global__ void embed_backward(float *d_table, const float *d_output, const u32 *ids, const float *mask, int batch,
                                          int len, int width) {
    __shared__ u32 hits[WARP];
    const u32 token = blockIdx.x;
    const int thread = threadIdx.x, warps = blockDim.x / WARP, unit = blockIdx.y * blockDim.x + thread;
    const int total = len * batch;
    float sum = 0.0f;
    for (int start = 0; start < total; start += blockDim.x) {
        const int own = start + thread; // time-major
        const bool is_hit = own < total && ids[(size_t)(own % batch) * len + own / batch] == token;
        const u32 found = __ballot_sync(EVERY_LANE, is_hit);
        __syncthreads();
        if (thread % WARP == 0) hits[thread / WARP] = found;
        __syncthreads();
        for (int warp = 0; warp < warps; warp++) {
            for (u32 left = hits[warp]; left != 0; left &= left - 1) {
                const int index = start + warp * WARP + __ffs(left) - 1;
                if (unit < width) {
                    const size_t at = (size_t)(index % batch) * len + index / batch;
                    const float d = d_output[(size_t)index * width + unit];
                    sum += mask == nullptr ? d : d * mask[at * width + unit];
                }
            }
        }
    }
    if (unit < width) d_table[(size_t)token * width + unit] = sum;
}

#define COLUMNS 32 // of a block of column_sums
#define LANES 16   // rows that it adds at a time

// The sums of the columns of `matrix`, [rows, columns].
extern "C" __global__ void column_sums(float *sums, const float *matrix, int stride, int rows, int columns) {
    __shared__ float partial[LANES][COLUMNS];
    const int own = threadIdx.x % COLUMNS, lane = threadIdx.x / COLUMNS, column = blockIdx.x * COLUMNS + own;
    float sum = 0.0f;
    if (column < columns) {
        for (int row = lane; row < rows; row += LANES) sum += matrix[(size_t)row * stride + column];
    }
    partial[lane][own] = sum;
    __syncthreads();
    if (lane != 0 || column >= columns) return;
    for (int other = 1; other < LANES; other++) sum += partial[other][own];
    sums[column] = sum;
}

// `to`, [rows, columns], becomes `from`, rows of which are `stride` apart.
extern "C" __global__ void copy_rows(float *to, int to_stride, const float *from, int from_stride, int rows, int columns) {
    const size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= (size_t)rows * columns) return;
    const size_t row = index / columns, column = index % columns;
    to[row * to_stride + column] = from[row * from_stride + column];
}
