// Views of which one is shown.

import { button, h } from "./dom.mjs";

export class Tabs {
  constructor(bar, main, views) {
    this.panels = new Map();
    this.tabs = new Map();
    for (const [name, { element }] of Object.entries(views)) {
      const [tab, panel] = [`tab-${name}`, `panel-${name}`];
      const control = button(name, { role: "tab", id: tab, "aria-controls": panel }, () => this.show(name));
      this.tabs.set(name, control);
      this.panels.set(
        name,
        h("div", { role: "tabpanel", id: panel, "aria-labelledby": tab, tabindex: "-1" }, element),
      );
    }
    bar.append(...this.tabs.values());
    main.append(...this.panels.values());
    bar.addEventListener("keydown", (event) => this.move(event));
    this.show(Object.keys(views)[0]);
  }

  show(name) {
    for (const [other, tab] of this.tabs) {
      tab.setAttribute("aria-selected", String(other === name));
      tab.tabIndex = other === name ? 0 : -1;
      this.panels.get(other).hidden = other !== name;
    }
    this.shown = name;
  }

  move(event) {
    const names = [...this.tabs.keys()];
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    this.show(names[(names.indexOf(this.shown) + by + names.length) % names.length]);
    this.tabs.get(this.shown).focus();
  }
}
