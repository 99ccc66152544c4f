// Location-aware attention. Chorowski, Bahdanau, Serdyuk, Cho, Bengio (2015), arXiv:1506.07503.
//
//   feature[i,n] = Σ_j F[n,j] previous[i + j - ⌊width / 2⌋]      0 beyond both ends
//   score[i]     = v · tanh(W query + w + U value[i] + L feature[i])

import { affine } from "../numbers.mjs";
import { additiveScores } from "./additive.mjs";
import { Memory } from "./memory.mjs";
import { filtered, filtersOf } from "./windows.mjs";

export class LocationAttention {
  constructor(scope, { start, width }) {
    this.start = start;
    this.query = scope.linear("query"); // W, w: D -> A
    this.key = scope.linearWithoutBias("key"); // U: 2H -> A
    this.filters = filtersOf(scope.get("filters").data, width); // F: [N, width]
    this.location = scope.linearWithoutBias("location"); // L: N -> A
    this.energy = scope.get("energy").data; // v: [A]
  }

  prepare(values, options) {
    return new Memory(
      values,
      values.map((value) => affine(this.key, value)),
      options,
    );
  }

  attend(query, memory, previous) {
    const keys = memory.keys.map((key, i) => {
      const feature = this.filters.map((filter) => filtered(previous, filter, i)); // [N]
      const location = affine(this.location, feature); // [A]
      return key.map((value, a) => value + location[a]);
    });
    return memory.weigh(additiveScores(affine(this.query, query), keys, this.energy));
  }
}
