// The decoder: attention, a stack of recurrent cells and the output layer, one step at a time.
//
//   context = attention(state of the top layer before the step)
//   state   = cell([embedding(token); context], state)
//   logits  = W [state of the top layer; context] + b

import { affine, concat, rowOf } from "./numbers.mjs";
import { recurrentWeights } from "./recurrent.mjs";

export class Decoder {
  constructor(scope, cell, layers, attention) {
    this.embedding = scope.pp("embedding").get("weight"); // [V, E]
    this.cell = cell;
    this.layers = Array.from({ length: layers }, (_, k) => recurrentWeights(scope.pp("rnn"), `_l${k}`));
    this.output = scope.linear("output");
    this.attention = attention;
  }

  /** Units of a layer. */
  get width() {
    return this.layers[0].state.weight.shape[1];
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
