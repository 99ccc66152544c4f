// One step of a recurrent layer: the gates and their derivatives. The equations are those of gru() and lstm().
//
// The two directions of an encoder's layer run in one launch: at step `step`, direction 0 is at that
// position and direction 1 at the same position from the end. One thread computes one unit.

// Where a thread stands. `position` indexes what is ordered by position, `step` what is ordered by step.
struct Place {
    int row, direction, unit, position;
    bool is_active;
    size_t gates, hidden, state, output;
};

// Widths and lengths of a layer, equal for all steps. H units in each of `directions`.
struct Layer {
    int batch, units, directions, len;
    int hidden_stride; // of a row of the hidden projection
    int state_stride;  // of a row of the states
    int output_stride; // of a row of the output and of its gradient
};

__device__ __forceinline__ bool find_place(const Layer &layer, int gates, int step, const u32 *lengths, Place &at) {
    const int width = layer.directions * layer.units;
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.batch * width) return false;
    at.row = index / width;
    at.direction = index % width / layer.units;
    at.unit = index % layer.units;
    at.position = at.direction == 0 ? step : layer.len - 1 - step;
    at.is_active = lengths == nullptr || at.position < (int)lengths[at.row];
    const size_t by_position = (size_t)at.position * layer.batch + at.row;
    const size_t by_step = (size_t)step * layer.batch + at.row;
    at.gates = (by_position * layer.directions + at.direction) * gates * layer.units + at.unit;
    at.hidden = by_step * layer.hidden_stride + at.direction * gates * layer.units + at.unit;
    at.state = by_step * layer.state_stride + at.direction * layer.units + at.unit;
    at.output = by_position * layer.output_stride + at.direction * layer.units + at.unit;
    return true;
}

// The dropout factor of a unit of the output; `mask` is [B, len, directions * H].
__device__ __forceinline__ float factor(const Layer &layer, const Place &at, const float *mask) {
    if (mask == nullptr) return 1.0f;
    const size_t position = (size_t)at.row * layer.len + at.position;
    return mask[(position * layer.directions + at.direction) * layer.units + at.unit];
}

// `gates` holds the input projection and becomes r, z, n; of `hidden`, the part of n becomes W_hn h + b_hn.
// `output` is the new state times its dropout factor, 0 where padded; it may be null.
extern "C" __global__ void gru_forward(Layer layer, int step, const u32 *lengths, const float *bias_ih, const float *bias_hh,
                                       float *gates, float *hidden, float *states, float *output, const float *mask) {
    Place at;
    if (!find_place(layer, 3, step, lengths, at)) return;
    const int units = layer.units;
    const float *b_ih = bias_ih + at.direction * 3 * units + at.unit, *b_hh = bias_hh + at.direction * 3 * units + at.unit;
    float *x = gates + at.gates, *h = hidden + at.hidden;
    const float before = states[at.state];
    const float r = sigmoid(x[0] + b_ih[0] + h[0] + b_hh[0]);
    const float z = sigmoid(x[units] + b_ih[units] + h[units] + b_hh[units]);
    const float hn = h[2 * units] + b_hh[2 * units];
    const float n = tanhf(x[2 * units] + b_ih[2 * units] + r * hn);
    const float after = at.is_active ? n + z * (before - n) : before;
    x[0] = r;
    x[units] = z;
    x[2 * units] = n;
    h[2 * units] = hn;
    states[at.state + (size_t)layer.batch * layer.state_stride] = after;
    if (output != nullptr) output[at.output] = at.is_active ? after * factor(layer, at, mask) : 0.0f;
}

// The gradients of both projections, in place, and `d_state`, [B, directions * H], without what flows
// through the hidden projection. `d_output` is the gradient of the output; it may be null.
extern "C" __global__ void gru_backward(Layer layer, int step, const u32 *lengths, float *gates, float *hidden,
                                        const float *states, float *d_state, const float *d_output, const float *mask) {
    Place at;
    if (!find_place(layer, 3, step, lengths, at)) return;
    const int units = layer.units;
    float *x = gates + at.gates, *h = hidden + at.hidden;
    float *d_own = d_state + ((size_t)at.row * layer.directions + at.direction) * units + at.unit;
    if (!at.is_active) {
        for (int gate = 0; gate < 3; gate++) x[gate * units] = h[gate * units] = 0.0f;
        return;
    }
    const float d = *d_own + (d_output == nullptr ? 0.0f : d_output[at.output] * factor(layer, at, mask));
    const float r = x[0], z = x[units], n = x[2 * units], hn = h[2 * units];
    // forward: h' = n + z (h - n)
    const float d_z = d * (states[at.state] - n) * z * (1.0f - z);
    const float d_n = d * (1.0f - z) * (1.0f - n * n);
    *d_own = d * z;
    // forward: n = tanh(.. + r hn)
    const float d_r = d_n * hn * r * (1.0f - r);
    x[0] = h[0] = d_r;
    x[units] = h[units] = d_z;
    x[2 * units] = d_n;
    h[2 * units] = d_n * r;
}

// `gates` holds the input projection and becomes i, f, g, o. `cells` is ordered as a dense `states`.
extern "C" __global__ void lstm_forward(Layer layer, int step, const u32 *lengths, const float *bias_ih, const float *bias_hh,
                                        float *gates, const float *hidden, float *states, float *cells, float *output,
                                        const float *mask) {
    Place at;
    if (!find_place(layer, 4, step, lengths, at)) return;
    const int units = layer.units, width = layer.directions * units;
    const float *b_ih = bias_ih + at.direction * 4 * units + at.unit, *b_hh = bias_hh + at.direction * 4 * units + at.unit;
    float *x = gates + at.gates;
    const float *h = hidden + at.hidden;
    const size_t cell = ((size_t)step * layer.batch + at.row) * width + at.direction * units + at.unit;
    const float before = states[at.state], c = cells[cell];
    const float i = sigmoid(x[0] + b_ih[0] + h[0] + b_hh[0]);
    const float f = sigmoid(x[units] + b_ih[units] + h[units] + b_hh[units]);
    const float g = tanhf(x[2 * units] + b_ih[2 * units] + h[2 * units] + b_hh[2 * units]);
    const float o = sigmoid(x[3 * units] + b_ih[3 * units] + h[3 * units] + b_hh[3 * units]);
    const float next = f * c + i * g;
    const float after = at.is_active ? o * tanhf(next) : before;
    x[0] = i;
    x[units] = f;
    x[2 * units] = g;
    x[3 * units] = o;
    cells[cell + (size_t)layer.batch * width] = at.is_active ? next : c;
    states[at.state + (size_t)layer.batch * layer.state_stride] = after;
    if (output != nullptr) output[at.output] = at.is_active ? after * factor(layer, at, mask) : 0.0f;
}

// The gradients of both projections, which are equal and written to both, and those of the state before.
extern "C" __global__ void lstm_backward(Layer layer, int step, const u32 *lengths, float *gates, float *hidden,
                                         const float *cells, float *d_state, float *d_cell, const float *d_output,
                                         const float *mask) {
    Place at;
    if (!find_place(layer, 4, step, lengths, at)) return;
    const int units = layer.units, width = layer.directions * units;
    float *x = gates + at.gates, *h = hidden + at.hidden;
    const size_t own = (size_t)at.row * width + at.direction * units + at.unit;
    if (!at.is_active) {
        for (int gate = 0; gate < 4; gate++) x[gate * units] = h[gate * units] = 0.0f;
        return;
    }
    const size_t cell = (size_t)step * layer.batch * width + own;
    const float c = cells[cell], t = tanhf(cells[cell + (size_t)layer.batch * width]);
    const float d = d_state[own] + (d_output == nullptr ? 0.0f : d_output[at.output] * factor(layer, at, mask));
    const float i = x[0], f = x[units], g = x[2 * units], o = x[3 * units];
    // forward: h' = o tanh(c')
    const float d_next = d_cell[own] + d * o * (1.0f - t * t);
    // forward: c' = f c + i g
    x[0] = h[0] = d_next * g * i * (1.0f - i);
    x[units] = h[units] = d_next * c * f * (1.0f - f);
    x[2 * units] = h[2 * units] = d_next * i * (1.0f - g * g);
    x[3 * units] = h[3 * units] = d * t * o * (1.0f - o);
    d_cell[own] = d_next * f;
    d_state[own] = 0.0f; // h affects this step only through the hidden projection
}

// tanh(x + bias) in place; x is [rows, width].
extern "C" __global__ void bias_tanh(float *x, int stride, const float *bias, int rows, int width) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= rows * width) return;
    float *own = x + (size_t)(index / width) * stride + index % width;
    *own = tanhf(*own + bias[index % width]);
}

// d_x *= 1 - y², where y = tanh(x); d_x is dense.
extern "C" __global__ void tanh_backward(float *d_x, const float *y, int stride, int rows, int width) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= rows * width) return;
    const float own = y[(size_t)(index / width) * stride + index % width];
    d_x[index] *= 1.0f - own * own;
}
