// The encoder: an embedding and a stack of bidirectional recurrent layers.

import { rowOf } from "./numbers.mjs";
import { Recurrent } from "./recurrent.mjs";

export class Encoder {
  constructor(scope, cell, layers) {
    this.embedding = scope.pp("embedding").get("weight"); // [V, E]
    this.rnn = new Recurrent(scope.pp("rnn"), cell, layers);
  }

  /** One value per source position, and the last state of each layer, both directions side by side. */
  forward(ids) {
    const { states, last } = this.rnn.forward(ids.map((id) => rowOf(this.embedding, id)));
    return { values: states, last };
  }
}
