// Location-relative attention: additive attention whose prior is the previous weights, shifted.
//
//   energy  = v · tanh(W query + w + U value[:])
//   weight  = softmax(log of previous, shifted and sharpened, + energy)

import { AdditiveAttention } from "./additive.mjs";
import { Shift } from "./shift.mjs";

export class LocationRelativeAttention {
  constructor(scope, { start }) {
    this.start = start;
    this.content = new AdditiveAttention(scope);
    this.shift = new Shift(scope);
  }

  prepare(values, options) {
    return this.content.prepare(values, options);
  }

  attend(query, memory, previous) {
    const content = this.content.scores(query, memory);
    const { log, controls } = this.shift.logWeights(query, previous);
    return memory.weigh(
      content.map((score, i) => log[i] + score),
      { content, ...controls },
    );
  }
}
