// The whole model: encoder and decoder.

import { RecurrentDecoder } from "./decoder.mjs";
import { Encoder } from "./encoder.mjs";
import { Transducer } from "./transducer.mjs";

export class Seq2Seq {
  /** `config` is the `[model]` table of the run's configuration. */
  constructor(config, params) {
    this.encoder = new Encoder(config, params.pp("encoder"));
    this.decoder =
      config.decoder.kind === "transducer"
        ? new Transducer(params.pp("decoder"))
        : new RecurrentDecoder(config, params);
  }

  /** The memory of the source and the decoder's first state; see [Memory] for `options`. */
  encode(source, options) {
    return this.decoder.start(this.encoder.forward(source), options);
  }
}
