// The long short-term memory. Hochreiter, Schmidhuber (1997), doi:10.1162/neco.1997.9.8.1735, as
// PyTorch computes it. Gates are stacked in the order i, f, g, o.
//
//   i  = σ(W_ii x + b_ii + W_hi h + b_hi)
//   f  = σ(W_if x + b_if + W_hf h + b_hf)
//   g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
//   o  = σ(W_io x + b_io + W_ho h + b_ho)
//   c' = f ⊙ c + i ⊙ g
//   h' = o ⊙ tanh(c')

import { affine, sigmoid } from "./numbers.mjs";

export const lstm = {
  step(x, { hidden, cell }, { input, state }) {
    const [ofInput, ofState] = [affine(input, x), affine(state, hidden)]; // [4H]
    const H = hidden.length;
    const next = { hidden: new Float32Array(H), cell: new Float32Array(H) };
    for (let k = 0; k < H; k++) {
      const gate = (g) => ofInput[g * H + k] + ofState[g * H + k];
      const [i, f, o] = [sigmoid(gate(0)), sigmoid(gate(1)), sigmoid(gate(3))];
      next.cell[k] = f * cell[k] + i * Math.tanh(gate(2));
      next.hidden[k] = o * Math.tanh(next.cell[k]);
    }
    return next;
  },
};
