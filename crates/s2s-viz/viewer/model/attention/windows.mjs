// Filters over the weights of the step before.

/** `Σ_j filter[j] weights[i + j - c]` at position i, with c = ⌊width / 2⌋ and 0 beyond both ends. */
export function filtered(weights, filter, i) {
  const center = Math.floor(filter.length / 2);
  let sum = 0;
  for (let j = 0; j < filter.length; j++) sum += filter[j] * (weights[i + j - center] ?? 0);
  return sum;
}

/** The filters of a matrix [N, width], as views. */
export function filtersOf(data, width) {
  return Array.from({ length: data.length / width }, (_, n) => data.subarray(n * width, (n + 1) * width));
}
