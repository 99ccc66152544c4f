// The addressing of neural Turing machines. Graves, Wayne, Danihelka (2014), arXiv:1410.5401.
//
//   content      = softmax(v · tanh(W query + w + U value[:]))
//   m            = sigmoid(G query + g)
//   gated        = m content + (1 - m) previous
//   weight       = softmax(log of gated, shifted and sharpened)

import { affine, sigmoid } from "../numbers.mjs";
import { AdditiveAttention } from "./additive.mjs";
import { Shift } from "./shift.mjs";

export class NtmAttention {
  constructor(scope, { start }) {
    this.start = start;
    this.content = new AdditiveAttention(scope);
    this.gate = scope.linear("gate"); // G, g: D -> 1
    this.shift = new Shift(scope);
  }

  prepare(values, options) {
    return this.content.prepare(values, options);
  }

  attend(query, memory, previous) {
    const content = memory.softmax(this.content.scores(query, memory));
    const gate = sigmoid(affine(this.gate, query)[0]);
    const gated = content.map((weight, i) => previous[i] + (weight - previous[i]) * gate);
    const { log, controls } = this.shift.logWeights(query, gated);
    return memory.weigh(log, { gate: [gate], content, ...controls });
  }
}
