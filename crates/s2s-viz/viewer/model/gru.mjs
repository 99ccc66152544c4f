// The gated recurrent unit. Cho et al. (2014), arXiv:1406.1078, as PyTorch computes it. Gates are
// stacked in the order r, z, n.
//
//   r  = σ(W_ir x + b_ir + W_hr h + b_hr)
//   z  = σ(W_iz x + b_iz + W_hz h + b_hz)
//   n  = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))
//   h' = (1 - z) ⊙ n + z ⊙ h

import { affine, sigmoid } from "./numbers.mjs";

export const gru = {
  step(x, { hidden }, { input, state }) {
    const [ofInput, ofState] = [affine(input, x), affine(state, hidden)]; // [3H]
    const H = hidden.length;
    const next = new Float32Array(H);
    for (let i = 0; i < H; i++) {
      const r = sigmoid(ofInput[i] + ofState[i]);
      const z = sigmoid(ofInput[H + i] + ofState[H + i]);
      const n = Math.tanh(ofInput[2 * H + i] + r * ofState[2 * H + i]);
      next[i] = n + z * (hidden[i] - n);
    }
    return { hidden: next };
  },
};
