// The whole model: encoder, bridge, decoder.

import { buildAttention } from "./attention/kinds.mjs";
import { Bridge } from "./bridge.mjs";
import { Decoder } from "./decoder.mjs";
import { Encoder } from "./encoder.mjs";
import { cellOf } from "./recurrent.mjs";

export class Seq2Seq {
  /** `config` is the `[model]` table of the run's configuration. */
  constructor(config, params) {
    const cell = cellOf(config.cell);
    const attention = buildAttention(config.attention, params.pp("attention"));
    this.encoder = new Encoder(params.pp("encoder"), cell, config.layers);
    this.decoder = new Decoder(params.pp("decoder"), cell, config.layers, attention);
    this.bridge = new Bridge(params.pp("bridge"), config.bridge, this.decoder.width);
  }

  /** The decoder's first state and the memory that it attends to; see [Memory] for `options`. */
  encode(source, options) {
    const { values, last } = this.encoder.forward(source);
    const { attention } = this.decoder;
    const memory = attention.prepare(values, options);
    const previous = memory.firstWeights(attention.start);
    return { memory, state: { layers: this.bridge.forward(last), previous } };
  }
}
