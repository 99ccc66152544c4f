// Outputs beside their references.

import { h } from "./dom.mjs";
import { tokenName, visible } from "./format.mjs";

/** The prediction with wrong tokens marked, and the target below it if they differ. */
export function marked(prediction, target) {
  const expected = [...target, "</s>"];
  const tokens = prediction.flatMap((text, t) => [
    h(text === expected[t] ? "span" : "mark", {}, tokenName(text)),
    " ",
  ]);
  const isExact =
    prediction.length === expected.length && prediction.every((text, t) => text === expected[t]);
  return [
    h("div", { class: "tokens" }, tokens),
    isExact ? null : h("div", { class: "tokens muted" }, target.map(visible).join(" ")),
  ];
}
