// The encoder: an embedding and a stack of bidirectional recurrent layers.

import { rowOf } from "./numbers.mjs";
import { Recurrent } from "./recurrent.mjs";

export class Encoder {
  /** `config` is the `[model]` table of the run's configuration. */
  constructor(config, scope) {
    this.embedding = scope.pp("embedding").get("weight"); // [V, E]
    this.rnn = new Recurrent(config, scope);
  }

  /** One value per source position, and the last state of each layer, both directions side by side. */
  forward(ids) {
    const { output, last } = this.rnn.forward(ids.map((id) => rowOf(this.embedding, id)));
    return { values: output, last };
  }
}
