// The source as buttons; the selected token can be replaced, moved or hidden from attention.

import { button, field, h } from "./dom.mjs";
import { visible } from "./format.mjs";

export class SourceStrip {
  /** `onChange` gets the new source and the new set of hidden positions. */
  constructor(onChange) {
    this.onChange = onChange;
    this.strip = h("div", { class: "strip", role: "group", "aria-label": "Source tokens" });
    this.editor = h("div", { class: "editor" });
    this.element = h("div", {}, this.strip, this.editor);
  }

  update(vocabulary, source, excluded) {
    const isOther = this.source?.length !== source.length;
    Object.assign(this, { vocabulary, source, excluded });
    if (isOther) this.selected = undefined;
    const hadFocus = this.strip.contains(document.activeElement);
    this.strip.replaceChildren(
      ...source.map((token, s) =>
        button(
          visible(vocabulary.text(token)),
          {
            class: excluded.has(s) ? "token masked" : "token",
            "aria-pressed": String(this.selected === s),
            "aria-label": `source ${s + 1}: ${visible(vocabulary.text(token))}${excluded.has(s) ? ", hidden" : ""}`,
          },
          () => this.select(s),
        ),
      ),
    );
    if (hadFocus) this.strip.children[this.selected]?.focus();
    this.showEditor();
  }

  select(position) {
    this.selected = this.selected === position ? undefined : position;
    this.update(this.vocabulary, this.source, this.excluded);
  }

  showEditor() {
    const s = this.selected;
    if (s === undefined) {
      const help = "Select a token to replace it, swap it, or hide it from attention.";
      this.editor.replaceChildren(h("p", { class: "muted" }, help));
      return;
    }
    const input = h("input", {
      type: "text",
      size: "6",
      value: this.vocabulary.text(this.source[s]),
      autocomplete: "off",
      onchange: () => this.replace(s, input),
    });
    const mask = h("input", {
      type: "checkbox",
      checked: this.excluded.has(s),
      onchange: () => this.hide(s, mask.checked),
    });
    this.editor.replaceChildren(
      field(`Token ${s + 1}`, input),
      field("hide from attention", mask, { class: "field check" }),
      button("Swap with next", { disabled: s + 1 >= this.source.length }, () => this.swap(s)),
      button("Remove", { disabled: this.source.length < 2 }, () => this.remove(s)),
    );
  }

  replace(s, input) {
    try {
      const token = this.vocabulary.parseOne(input.value);
      input.setCustomValidity("");
      this.onChange(this.source.with(s, token), this.excluded);
    } catch (error) {
      input.setCustomValidity(error.message);
      input.reportValidity();
    }
  }

  hide(s, isHidden) {
    const excluded = new Set(this.excluded);
    if (isHidden) excluded.add(s);
    else excluded.delete(s);
    this.onChange(this.source, excluded);
  }

  swap(s) {
    const swapped = this.source.with(s, this.source[s + 1]).with(s + 1, this.source[s]);
    this.selected = s + 1;
    this.onChange(swapped, this.excluded);
  }

  remove(s) {
    this.onChange(this.source.toSpliced(s, 1), new Set());
  }
}
