// Dynamic convolution attention. Battenberg et al. (2020), arXiv:1910.10288, without their prior.
//
//   G              = V tanh(W query + w)                     N filters computed from the state
//   feature[i,n]   = Σ_j F[n,j] previous[i + j - c]          c = ⌊width / 2⌋, 0 beyond both ends
//   feature[i,N+n] = Σ_j G[n,j] previous[i + j - c]
//   score[i]       = v · tanh(L feature[i] + l)

import { affine } from "../numbers.mjs";
import { additiveScores } from "./additive.mjs";
import { Memory } from "./memory.mjs";
import { filtered, filtersOf } from "./windows.mjs";

export class DynamicConvolutionAttention {
  constructor(scope, { start, width }) {
    this.start = start;
    this.width = width;
    this.query = scope.linear("query"); // W, w: D -> A
    this.dynamic = scope.linearWithoutBias("dynamic"); // V: A -> N·width
    this.filters = filtersOf(scope.get("filters").data, width); // F: [N, width]
    this.location = scope.linear("location"); // L, l: 2N -> A
    this.energy = scope.get("energy").data; // v: [A]
  }

  prepare(values, options) {
    return new Memory(values, values, options);
  }

  attend(query, memory, previous) {
    const dynamic = affine(this.dynamic, affine(this.query, query).map(Math.tanh));
    const filters = [...this.filters, ...filtersOf(dynamic, this.width)];
    const keys = memory.values.map((_, i) =>
      affine(
        this.location,
        filters.map((filter) => filtered(previous, filter, i)),
      ),
    );
    const nothing = new Float32Array(this.energy.length);
    return memory.weigh(additiveScores(nothing, keys, this.energy));
  }
}
