// The bridge: the decoder's first state from the encoder's last.
//
//   tanh:    state[k] = tanh(W_k [forward; backward] + b_k)
//   concat:  state[k] = [forward; backward]        needs D = 2H
//   last:    state[k] = forward                    needs D = H
//   zero:    state[k] = 0

import { affine } from "./numbers.mjs";

export class Bridge {
  constructor(scope, kind, width) {
    this.scope = scope;
    this.kind = kind;
    this.width = width;
  }

  /** For each layer the decoder's first state. */
  forward(last) {
    return last.map(({ hidden, cell }, k) => ({
      hidden: this.vector(hidden, this.scope.pp(k)),
      cell: cell && this.vector(cell, this.scope.pp(k).pp("cell")),
    }));
  }

  vector(last, scope) {
    switch (this.kind) {
      case "tanh":
        return affine({ weight: scope.get("weight"), bias: scope.get("bias") }, last).map(Math.tanh);
      case "concat":
        return last;
      case "last":
        return last.subarray(0, this.width);
      case "zero":
        return new Float32Array(this.width);
      default:
        throw new Error(`this page does not know the bridge "${this.kind}"`);
    }
  }
}
