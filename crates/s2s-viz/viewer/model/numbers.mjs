// Vectors are Float32Array: stored in single precision, like the model's tensors.

/** `weight x + bias`; `weight` is [out, in], `bias` is [out] or absent. */
export function affine({ weight, bias }, x) {
  const [outputs, inputs] = weight.shape;
  const { data } = weight;
  const y = new Float32Array(outputs);
  for (let o = 0, at = 0; o < outputs; o++) {
    let sum = 0;
    for (let i = 0; i < inputs; i++, at++) sum += data[at] * x[i];
    y[o] = bias ? Math.fround(sum) + bias.data[o] : sum;
  }
  return y;
}

/** Row `row` of a matrix. */
export function rowOf({ data, shape: [, width] }, row) {
  return data.subarray(row * width, (row + 1) * width);
}

export function concat(...parts) {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export function dotProduct(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

export function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

/** `ln(1 + exp(x))`, without overflow. */
export function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

export function softmax(scores) {
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const exponentials = Float64Array.from(scores, (score) => Math.exp(score - top));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return Float32Array.from(exponentials, (value) => value / sum);
}

/** The index of the greatest number, the first of several. */
export function argmax(numbers) {
  let best = 0;
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[best]) best = i;
  return best;
}
