// How the layers of a stack are connected: what each passes on.
//
//   y_k = norm_k(h_k + y_(k-1))
//
// with the sum above the first layer and the norm below the top, each if the model has it; else y_k = h_k.

const EPSILON = 1e-5;

export class Connections {
  /** `scope` is that of the encoder or of the decoder. */
  constructor(config, scope) {
    this.isResidual = Boolean(config.residual);
    const n = config.layer_norm ? config.layers - 1 : 0;
    this.norms = Array.from({ length: n }, (_, k) => scope.linear(`norm.${k}`));
  }

  /** The output of layer k at one position, from its state and what it reads. */
  output(k, state, below) {
    const sum = this.isResidual && k > 0 ? state.map((h, i) => h + below[i]) : state;
    return this.norms[k] ? layerNorm(this.norms[k], sum) : sum;
  }
}

/** Layer normalization. Ba, Kiros, Hinton (2016), arXiv:1607.06450. */
function layerNorm({ weight, bias }, x) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const scale = 1 / Math.sqrt(variance + EPSILON);
  return x.map((value, i) => weight.data[i] * (value - mean) * scale + bias.data[i]);
}
