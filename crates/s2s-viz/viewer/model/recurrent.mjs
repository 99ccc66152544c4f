// Stacked recurrent layers.

import { concat } from "./numbers.mjs";
import { gru } from "./gru.mjs";
import { lstm } from "./lstm.mjs";

export function cellOf(kind) {
  if (kind === "gru") return gru;
  if (kind === "lstm") return lstm;
  throw new Error(`this page does not know the cell "${kind}"`);
}

/** The parameters of one layer; `suffix` is `_l0`, `_l0_reverse` and so on. */
export function recurrentWeights(scope, suffix) {
  return {
    input: { weight: scope.get(`weight_ih${suffix}`), bias: scope.get(`bias_ih${suffix}`) },
    state: { weight: scope.get(`weight_hh${suffix}`), bias: scope.get(`bias_hh${suffix}`) },
  };
}

/** Layer k of a bidirectional stack reads both directions of layer k - 1. */
export class Recurrent {
  constructor(scope, cell, layers) {
    this.cell = cell;
    this.layers = Array.from({ length: layers }, (_, k) => [
      recurrentWeights(scope, `_l${k}`),
      recurrentWeights(scope, `_l${k}_reverse`),
    ]);
  }

  /** The top layer's states, [2H] for each position, and the last state of each layer. */
  forward(inputs) {
    let states = inputs;
    const last = [];
    for (const [forward, backward] of this.layers) {
      const ahead = this.run(states, forward);
      const back = this.run(states.toReversed(), backward).toReversed();
      states = ahead.map((state, s) => concat(state.hidden, back[s].hidden));
      const ends = [ahead.at(-1), back[0]];
      last.push({
        hidden: concat(...ends.map((end) => end.hidden)),
        cell: ends[0].cell && concat(...ends.map((end) => end.cell)),
      });
    }
    return { states, last };
  }

  run(inputs, weights) {
    const width = weights.state.weight.shape[1];
    let state = { hidden: new Float32Array(width), cell: new Float32Array(width) };
    return inputs.map((input) => (state = this.cell.step(input, state, weights)));
  }
}
