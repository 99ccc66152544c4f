// Additive attention. Bahdanau, Cho, Bengio (2015), arXiv:1409.0473.
//
//   score[s]  = v · tanh(W query + w + U value[s])
//   weight    = softmax(score)
//   context   = Σ_s weight[s] value[s]

import { affine } from "../numbers.mjs";
import { Memory } from "./memory.mjs";

/** `v · tanh(query + key)` for each key. */
export function additiveScores(query, keys, energy) {
  return Float32Array.from(keys, (key) => {
    let score = 0;
    for (let a = 0; a < key.length; a++) score += energy[a] * Math.tanh(query[a] + key[a]);
    return score;
  });
}

export class AdditiveAttention {
  start = "zeros";

  constructor(scope) {
    this.query = scope.linear("query"); // W, w: D -> A
    this.key = scope.linearWithoutBias("key"); // U: 2H -> A
    this.energy = scope.get("energy").data; // v: [A]
  }

  prepare(values, options) {
    return new Memory(
      values,
      values.map((value) => affine(this.key, value)),
      options,
    );
  }

  scores(query, memory) {
    return additiveScores(affine(this.query, query), memory.keys, this.energy);
  }

  attend(query, memory) {
    return memory.weigh(this.scores(query, memory));
  }
}
