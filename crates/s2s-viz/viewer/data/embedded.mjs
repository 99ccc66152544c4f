// The page as the source of the data: it has the weights, and runs the model.

import { readParams } from "../model/params.mjs";
import { Seq2Seq } from "../model/seq2seq.mjs";
import { trace } from "../model/trace.mjs";

/** Longest source, in tokens: the time grows with the square of the length. */
const MAX_SOURCE = 512;

export class EmbeddedSource {
  constructor({ runs }) {
    this.runs = runs;
    this.models = new Map();
  }

  /** Why the run's model cannot be used, or null. */
  obstacle(run) {
    if (!run.weights) return "The weights could not be read; see the notes under Numbers.";
    if (!run.weights.base64) {
      return (
        `The model is too large for this page (${(run.weights.n_bytes / 1e6).toFixed(1)} MB). ` +
        `"s2s playground" with the run's folder runs it.`
      );
    }
    return null;
  }

  /** Decodes `source`, token ids without markers; see `trace` for the changes. */
  async decode(run, tokens, source, changes) {
    if (source.length > MAX_SOURCE) throw new Error(`at most ${MAX_SOURCE} tokens`);
    return trace(this.modelOf(run), tokens, source, changes, run.output_limit);
  }

  /** An embedded run does not change. */
  subscribe() {}

  modelOf(run) {
    if (!this.models.has(run)) {
      const bytes = Uint8Array.from(atob(run.weights.base64), (c) => c.charCodeAt(0));
      this.models.set(run, new Seq2Seq(run.config.model, readParams(bytes)));
    }
    return this.models.get(run);
  }
}
