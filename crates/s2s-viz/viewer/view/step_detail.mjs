// One step: the candidates, and what attention computed.

import { button, field, h, hidden } from "./dom.mjs";
import { decimal, percent, visible } from "./format.mjs";

export class StepDetail {
  /** `onForce` gets a step and a token, or null to undo. */
  constructor(onForce) {
    this.onForce = onForce;
    this.element = h("div", { class: "detail" });
  }

  /** `isFedBack` says whether the decoder reads its last output. */
  update({ vocabulary, steps, forced, active, isFedBack }) {
    const step = steps[active];
    const name = (token) => (token === vocabulary.eos ? "end" : visible(vocabulary.text(token)));
    const fed = active ? name(steps[active - 1].token) : "the start marker";
    const isForced = forced.has(active);
    const hadFocus = this.element.contains(document.activeElement);
    this.element.replaceChildren(
      h("h3", {}, `Step ${active + 1} of ${steps.length}`),
      h(
        "p",
        {},
        ...(isFedBack
          ? ["The decoder reads ", h("b", {}, fed), " and gives these probabilities. Select one to force it."]
          : ["The decoder gives these probabilities. It does not read its output: no step depends on another's token."]),
      ),
      h(
        "ol",
        { class: "candidates" },
        step.top.map(({ token, probability }) =>
          h(
            "li",
            {},
            button(
              [
                hidden("force "),
                h("span", { class: "name" }, name(token)),
                h("span", { class: "bar", style: { "--p": probability } }),
                h("span", { class: "number" }, percent(probability, probability < 0.001 ? 3 : 1)),
              ],
              { class: "candidate", "aria-pressed": String(token === step.token) },
              () => this.onForce(active, token),
            ),
          ),
        ),
      ),
      this.forceAny(vocabulary, active),
      isForced ? button("Undo: let the model choose", {}, () => this.onForce(active, null)) : "",
      this.controls(step),
    );
    if (hadFocus) this.element.querySelector("[aria-pressed=true]")?.focus();
  }

  forceAny(vocabulary, active) {
    const input = h("input", {
      type: "text",
      size: "6",
      autocomplete: "off",
      onchange: () => {
        try {
          const token = input.value === "end" ? vocabulary.eos : vocabulary.parseOne(input.value);
          this.onForce(active, token);
        } catch (error) {
          input.setCustomValidity(error.message);
          input.reportValidity();
        }
      },
      oninput: () => input.setCustomValidity(""),
    });
    return field("Force another token", input);
  }

  controls({ controls }) {
    const rows = [];
    if (controls.mode) rows.push(["mode", likely(controls.mode, String)]);
    if (controls.kernel) {
      const distances = controls.kernel.length / 3;
      rows.push(["move", likely(controls.kernel, (index) => moveName(index, distances))]);
    }
    if (controls.shift) {
      const shares = controls.shift.length === 3 ? Array.from(controls.shift) : [];
      const names = ["back", "stay", "forward"];
      rows.push(["shift", shares.map((share, i) => `${names[i]} ${percent(share, 0)}`).join(", ")]);
    }
    if (controls.sharpness) rows.push(["sharpness γ", decimal(controls.sharpness[0], 2)]);
    if (controls.gate) rows.push(["content gate", percent(controls.gate[0], 0)]);
    if (!rows.length) return "";
    return h(
      "dl",
      { class: "facts" },
      rows.flatMap(([key, value]) => [h("dt", {}, key), h("dd", {}, value)]),
    );
  }
}

/** The choices with at least 1 % of the probability, the most likely first. */
function likely(probabilities, name) {
  const choices = Array.from(probabilities, (probability, index) => ({ probability, index }));
  return choices
    .filter(({ probability }) => probability >= 0.01)
    .sort((a, b) => b.probability - a.probability)
    .map(({ probability, index }) => `${name(index)} ${percent(probability, 0)}`)
    .join(", ");
}

/** The name of a transducer's move: `+1`, `stay`, `first+2`, `last`. */
export function moveName(index, distances) {
  const place = ["", "first", "last"][Math.floor(index / distances)];
  const distance = (index % distances) - (distances - 1) / 2;
  if (distance === 0) return place || "stay";
  return `${place}${distance > 0 ? "+" : "−"}${Math.abs(distance)}`;
}

/** What is known about one cell of a heatmap. */
export function cellText(step, row, column, sourceText, outputText) {
  const { weights, controls } = step;
  const parts = [
    `Step ${row + 1} (${outputText}) looks at source ${column + 1} (${sourceText})`,
    `weight ${decimal(weights[column], 4)}`,
  ];
  for (const [key, label] of [
    ["score", "energy"],
    ["content", "content"],
    ["prior", "prior"],
  ]) {
    if (controls[key]) parts.push(`${label} ${decimal(controls[key][column], 3)}`);
  }
  return parts.join(" · ");
}
