// No attention: the context is zero. Sutskever, Vinyals, Le (2014), arXiv:1409.3215.

import { Memory } from "./memory.mjs";

export class NoAttention {
  start = "zeros";

  prepare(values, options) {
    return new Memory(values, values, options);
  }

  attend(_query, { values }) {
    const weights = new Float32Array(values.length);
    return { weights, context: new Float32Array(values[0].length), controls: {} };
  }
}
