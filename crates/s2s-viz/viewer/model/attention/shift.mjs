// The weights of the step before, shifted and sharpened. Graves, Wayne, Danihelka (2014),
// arXiv:1410.5401, equations 8 and 9; without their wrap at the ends.
//
//   k          = softmax(K query + b)                      offsets -1, 0, +1
//   γ          = 1 + softplus(g · query + c)
//   shifted[i] = Σ_o k[o] weights[i - o]                   0 beyond both ends
//   log[i]     = γ ln(shifted[i] + 1e-8)

import { affine, softmax, softplus } from "../numbers.mjs";

/** Added before the logarithm: content can choose a position that no weight was shifted to. */
const FLOOR = 1e-8;

export class Shift {
  constructor(scope) {
    this.kernel = scope.linear("shift"); // K, b: D -> 3
    this.sharpness = scope.linear("sharpen"); // g, c: D -> 1
  }

  /** The logarithm of the new weights up to a constant, and the numbers that made it. */
  logWeights(query, weights) {
    const kernel = softmax(affine(this.kernel, query)); // [3]
    const sharpness = 1 + softplus(affine(this.sharpness, query)[0]);
    const prior = weights.map((_, i) =>
      kernel.reduce((sum, share, tap) => sum + share * (weights[i - (tap - 1)] ?? 0), 0),
    );
    const log = prior.map((shifted) => sharpness * Math.log(shifted + FLOOR));
    return { log, controls: { shift: kernel, sharpness: [sharpness], prior } };
  }
}
