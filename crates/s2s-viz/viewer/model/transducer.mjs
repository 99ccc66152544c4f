// The two-way transducer: a head on the source, which modes steer, one step at a time.
//
//   mode    = sharpened(mode T(context))        T = softmax(W context + w + 2 I), row by row
//   kernel  = Σ_j mode[j] softmax(A_j context + b_j)    moves: {where it is, first, last} × {-R..R}
//   head    = sharpened(head moved by kernel)   clamped at both ends of the source
//   context = Σ_s head[s] values[s]
//   logits  = O context + o + M mode
//
// Outputs are not fed back. The first mode is 0, and the head is at the first position.

import { Memory } from "./attention/memory.mjs";
import { affine, dotProduct, softmax, softplus } from "./numbers.mjs";

/** Added to the diagonal of the transitions. */
const STAY = 2;

/** Added to a mode and to a position of the head before the logarithm. */
const MODE_FLOOR = 1e-12;
const HEAD_FLOOR = 1e-8;

/** The power of a mode's probability. */
const MODE_POWER = 1.5;

export class Transducer {
  constructor(scope) {
    this.transition = scope.linear("transition"); // W, w: 2H -> K·K
    this.kernel = scope.linear("kernel"); // A, b: 2H -> K·3(2R + 1)
    this.sharpness = scope.get("sharpness").data; // [K]
    this.output = scope.linear("output"); // O, o: 2H -> V
    this.modeOutput = scope.linearWithoutBias("mode_output"); // M: K -> V
  }

  /** The memory of the encoder's states, and the state before the first step. */
  start({ values }, options) {
    const memory = new Memory(values, null, options);
    const mode = new Float32Array(this.sharpness.length);
    mode[0] = 1;
    return { memory, state: { mode, head: memory.firstWeights("first"), context: values[0] } };
  }

  step(_token, before, memory) {
    const mode = this.nextMode(before); // [K]
    const moves = this.moves(mode, before.context); // [3(2R + 1)]
    const power = 1 + softplus(dotProduct(mode, this.sharpness));
    const moved = move(before.head, moves);
    const attended = memory.weigh(
      moved.map((weight) => power * Math.log(weight + HEAD_FLOOR)),
      { mode, kernel: moves, sharpness: [power] },
    );
    const { weights: head, context } = attended;
    const ofMode = affine(this.modeOutput, mode);
    const logits = affine(this.output, context).map((logit, v) => logit + ofMode[v]); // [V]
    return { logits, attended, state: { mode, head, context } };
  }

  nextMode({ mode, context }) {
    const scores = rows(affine(this.transition, context), mode.length);
    const transitions = scores.map((row, i) => softmax(row.map((x, j) => x + (i === j ? STAY : 0))));
    const next = mixture(mode, transitions);
    return softmax(next.map((share) => MODE_POWER * Math.log(share + MODE_FLOOR)));
  }

  moves(mode, context) {
    return mixture(mode, rows(affine(this.kernel, context), mode.length).map(softmax));
  }
}

/** `n` rows of a matrix that lie one after the other. */
function rows(all, n) {
  const width = all.length / n;
  return Array.from({ length: n }, (_, i) => all.subarray(i * width, (i + 1) * width));
}

/** The distributions, each with its share. */
function mixture(shares, distributions) {
  return distributions[0].map((_, i) =>
    shares.reduce((sum, share, k) => sum + share * distributions[k][i], 0),
  );
}

/** The head after moves with these probabilities. */
function move(head, moves) {
  const last = head.length - 1;
  const distances = moves.length / 3;
  const reach = (distances - 1) / 2;
  const moved = new Float32Array(head.length);
  const leave = (position, share, taps) =>
    taps.forEach((tap, i) => {
      const to = Math.min(Math.max(position + i - reach, 0), last);
      moved[to] += share * tap;
    });
  const [from, first, end] = rows(moves, 3);
  head.forEach((share, position) => leave(position, share, from));
  leave(0, 1, first);
  leave(last, 1, end);
  return moved;
}
