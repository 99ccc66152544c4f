// The recurrent decoder: attention, a stack of recurrent cells and the output layer, one step at a time.
//
//   context = attention(state of the top layer before the step)
//   state   = cell([embedding(token); context], state)
//   logits  = W [output of the top layer; context] + b
//
// With input feeding, the attentional vector of the step before, 0 before the first, takes the place of the context:
//
//   state   = cell([embedding(token); vector], state)
//   context = attention(state of the top layer)
//   vector  = tanh(A [output of the top layer; context] + a)
//   logits  = W vector + b

import { buildAttention } from "./attention/kinds.mjs";
import { Bridge } from "./bridge.mjs";
import { Connections } from "./connections.mjs";
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
    this.connections = new Connections(config, scope);
    this.attentional = config.input_feeding ? scope.linear("attentional") : null;
    this.output = scope.linear("output");
    this.attention = buildAttention(config.attention, params.pp("attention"));
    this.width = this.layers[0].state.weight.shape[1];
    this.bridge = new Bridge(params.pp("bridge"), config.bridge, this.width);
  }

  /** The memory of the encoder's states, and the state before the first step. */
  start({ values, last }, options) {
    const memory = this.attention.prepare(values, options);
    const previous = memory.firstWeights(this.attention.start);
    const vector = new Float32Array(this.width);
    return { memory, state: { layers: this.bridge.forward(last), previous, vector } };
  }

  /** `state` is { layers, previous, vector }: the state of each layer, and the weights and the vector of the step before. */
  step(token, { layers, previous, vector }, memory) {
    const attend = (of) => this.attention.attend(of.at(-1).hidden, memory, previous);
    const before = this.attentional ? null : attend(layers);
    let x = concat(rowOf(this.embedding, token), before ? before.context : vector);
    const after = this.layers.map((weights, k) => {
      const state = this.cell.step(x, layers[k], weights);
      x = this.connections.output(k, state.hidden, x); // [D]
      return state;
    });
    const attended = before ?? attend(after);
    const both = concat(x, attended.context); // [D + 2H]
    const read = this.attentional ? affine(this.attentional, both).map(Math.tanh) : both;
    const state = { layers: after, previous: attended.weights, vector: read };
    return { logits: affine(this.output, read), attended, state };
  }
}
