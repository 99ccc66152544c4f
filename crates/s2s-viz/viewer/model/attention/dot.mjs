// Dot-product attention. Luong, Pham, Manning (2015), arXiv:1508.04025, "dot" and "general".
//
//   score[s] = query · value[s]              dot
//   score[s] = query · value[s] / √D         dot, scaled
//   score[s] = query · W value[s]            general

import { affine, dotProduct } from "../numbers.mjs";
import { Memory } from "./memory.mjs";

export class DotAttention {
  start = "zeros";

  constructor({ scaled }) {
    this.scaled = scaled;
  }

  static general(scope) {
    const attention = new DotAttention({ scaled: false });
    attention.key = scope.linearWithoutBias("key"); // W: 2H -> D
    return attention;
  }

  prepare(values, options) {
    const keys = this.key ? values.map((value) => affine(this.key, value)) : values;
    return new Memory(values, keys, options);
  }

  attend(query, memory) {
    const scale = this.scaled ? 1 / Math.sqrt(query.length) : 1;
    return memory.weigh(Float32Array.from(memory.keys, (key) => scale * dotProduct(query, key)));
  }
}
