// Stacked recurrent layers.

import { Connections } from "./connections.mjs";
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
  /** `config` is the `[model]` table, `scope` that of the encoder. */
  constructor(config, scope) {
    this.cell = cellOf(config.cell);
    const rnn = scope.pp("rnn");
    this.layers = Array.from({ length: config.layers }, (_, k) => [
      recurrentWeights(rnn, `_l${k}`),
      recurrentWeights(rnn, `_l${k}_reverse`),
    ]);
    this.connections = new Connections(config, scope);
  }

  /** The top layer's output, [2H] for each position, and the last state of each layer. */
  forward(inputs) {
    let output = inputs;
    const last = [];
    for (const [k, [forward, backward]] of this.layers.entries()) {
      const ahead = this.run(output, forward);
      const back = this.run(output.toReversed(), backward).toReversed();
      const states = ahead.map((state, s) => concat(state.hidden, back[s].hidden));
      output = states.map((state, s) => this.connections.output(k, state, output[s]));
      const ends = [ahead.at(-1), back[0]];
      last.push({
        hidden: concat(...ends.map((end) => end.hidden)),
        cell: ends[0].cell && concat(...ends.map((end) => end.cell)),
      });
    }
    return { output, last };
  }

  run(inputs, weights) {
    const width = weights.state.weight.shape[1];
    let state = { hidden: new Float32Array(width), cell: new Float32Array(width) };
    return inputs.map((input) => (state = this.cell.step(input, state, weights)));
  }
}
