// The recurrent decoder: attention, a stack of recurrent cells and the output layer, one step at a time.
//
//   context = attention(state of the top layer before the step)
//   state   = cell([embedding(token); context], state)
//   logits  = W [state of the top layer; context] + b

import { buildAttention } from "./attention/kinds.mjs";
import { Bridge } from "./bridge.mjs";
import { affine, concat, rowOf } from "./numbers.mjs";
import { cellOf, recurrentWeights } from "./recurrent.mjs";

export class RecurrentDecoder {
  /** `config` is the `[model]` table of the run's configuration. */
  constructor(config, params) {
    const scope = params.pp("decoder");
    this.embedding = scope.pp("embedding").get("weight"); // [V, E]
    this.cell = cellOf(config.cell);
    this.layers = Array.from({ length: config.layers }, (_, k) =>
      recurrentWeights(scope.pp("rnn"), `_l${k}`),
    );
    this.output = scope.linear("output");
    this.attention = buildAttention(config.attention, params.pp("attention"));
    const width = this.layers[0].state.weight.shape[1];
    this.bridge = new Bridge(params.pp("bridge"), config.bridge, width);
  }

  /** The memory of the encoder's states, and the state before the first step. */
  start({ values, last }, options) {
    const memory = this.attention.prepare(values, options);
    const previous = memory.firstWeights(this.attention.start);
    return { memory, state: { layers: this.bridge.forward(last), previous } };
  }

  /** `state` is { layers, previous }: the state of each layer, and the weights of the step before. */
  step(token, { layers, previous }, memory) {
    const query = layers.at(-1).hidden;
    const attended = this.attention.attend(query, memory, previous);
    let x = concat(rowOf(this.embedding, token), attended.context); // [E + 2H]
    const after = this.layers.map((weights, k) => {
      const state = this.cell.step(x, layers[k], weights);
      x = state.hidden; // [D]
      return state;
    });
    const logits = affine(this.output, concat(x, attended.context)); // [V]
    return { logits, attended, state: { layers: after, previous: attended.weights } };
  }
}
