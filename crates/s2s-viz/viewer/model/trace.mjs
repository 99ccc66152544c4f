// Greedy decoding step by step, with interventions.

import { argmax, softmax } from "./numbers.mjs";

/** Tokens listed for each step. */
const N_TOP = 8;

/** The most likely tokens, the first one first. */
function topOf(probabilities) {
  const tokens = Array.from(probabilities.keys());
  tokens.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  return tokens.slice(0, N_TOP).map((token) => ({ token, probability: probabilities[token] }));
}

/** Output tokens, the end token included, for a source of `length` tokens. */
function limitOf(length, { least, growth: [numerator, denominator], slack }) {
  return Math.max(least, Math.ceil((numerator * length) / denominator)) + slack;
}

/**
 * Decodes `source`, token ids as the model reads them.
 *
 * `excluded` lists source positions that attention cannot see, `temperature` divides the scores of
 * attention, and `forced` gives the token that replaces the model's own at a step. `limit` limits
 * the output.
 */
export function trace(model, tokens, source, changes, limit) {
  const { excluded = [], temperature = 1, forced = {} } = changes;
  let { memory, state } = model.encode(source, { excluded, temperature });
  const steps = [];
  let token = tokens.bos;
  while (token !== tokens.eos && steps.length < limitOf(source.length, limit)) {
    const { logits, attended, state: next } = model.decoder.step(token, state, memory);
    const choice = argmax(logits);
    token = forced[steps.length] ?? choice;
    const probabilities = softmax(logits);
    const { weights, controls } = attended;
    steps.push({ token, probability: probabilities[token], top: topOf(probabilities), weights, controls });
    state = next;
  }
  return { steps, stopped: token === tokens.eos };
}
