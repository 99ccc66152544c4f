// The source as attention reads it: computed once per sequence, used at every step.

import { softmax } from "../numbers.mjs";

/** The score of a position that attention cannot see: its exponential is exactly 0. */
const MASKED = -1e30;

export class Memory {
  /** `temperature` divides every score; `excluded` lists positions that attention cannot see. */
  constructor(values, keys, { temperature = 1, excluded = [] }) {
    this.values = values; // S of [2H]
    this.keys = keys; // S of [A]
    this.temperature = temperature;
    this.excluded = new Set(excluded);
  }

  /** The weights before the first step: 1 at the start position, or all 0. */
  firstWeights(start) {
    const weights = new Float32Array(this.values.length);
    if (start === "first") weights[0] = 1;
    if (start === "last") weights[weights.length - 1] = 1;
    return weights;
  }

  softmax(scores) {
    return softmax(scores.map((score, s) => (this.excluded.has(s) ? MASKED : score / this.temperature)));
  }

  /** The weights of `scores`, and the weighted sum of the values. `controls` explain the weights. */
  weigh(scores, controls = {}) {
    const weights = this.softmax(scores);
    const context = new Float32Array(this.values[0].length);
    this.values.forEach((value, s) => {
      for (let i = 0; i < value.length; i++) context[i] += weights[s] * value[i];
    });
    return { weights, context, controls: { score: scores, ...controls } };
  }
}
