// The output as buttons, one per step, with the probability of each token.

import { button, h, hidden } from "./dom.mjs";
import { percent, visible } from "./format.mjs";

export class OutputStrip {
  constructor(onStep) {
    this.onStep = onStep;
    this.element = h("div", { class: "strip", role: "group", "aria-label": "Output tokens" });
  }

  /** `steps` are { token, probability }; `verdicts` says for each whether it is right, or null. */
  update({ vocabulary, steps, verdicts, forced, active }) {
    const hadFocus = this.element.contains(document.activeElement);
    this.element.replaceChildren(
      ...steps.map(({ token, probability }, t) => {
        const text = token === vocabulary.eos ? "end" : visible(vocabulary.text(token));
        const isForced = forced.has(t);
        const isWrong = verdicts?.[t] === false;
        const classes = ["token", isWrong && "wrong", isForced && "forced", t > active && "later"];
        return button(
          [
            hidden(`step ${t + 1}: `),
            h("span", { class: "text" }, text),
            h("span", { class: "bar", style: { "--p": probability } }),
            h("small", {}, isForced ? "forced" : percent(probability, probability < 0.9995 ? 1 : 0)),
            isWrong ? hidden(" wrong") : null,
          ],
          {
            class: classes.filter(Boolean).join(" "),
            "aria-current": t === active ? "step" : null,
          },
          () => this.onStep(t),
        );
      }),
    );
    if (hadFocus) this.element.children[active]?.focus();
  }
}
