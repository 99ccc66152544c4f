// The page: reads its data block, and shows one view at a time.

import { EmbeddedSource } from "./data/embedded.mjs";
import { ServerSource } from "./data/server.mjs";
import { button, h } from "./view/dom.mjs";
import { DecodeView } from "./view/decode.mjs";
import { FailuresView } from "./view/failures.mjs";
import { visible } from "./view/format.mjs";
import { NumbersView } from "./view/numbers_view.mjs";
import { startTheme } from "./view/theme.mjs";
import { TrainingView } from "./view/training.mjs";

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const source = data.source === "server" ? new ServerSource(data) : new EmbeddedSource(data);
  startTheme(document.getElementById("theme"));
  document.getElementById("runs").textContent = source.runs.map(({ name }) => visible(name)).join(", ");

  const decode = new DecodeView(source);
  const openInDecode = (run, texts) => {
    tabs.show("Decode");
    decode.open(run, texts);
    decode.input.focus();
  };
  const views = {
    Decode: decode,
    Training: new TrainingView(source, openInDecode),
    Failures: new FailuresView(source, openInDecode),
    Numbers: new NumbersView(source),
  };
  const tabs = new Tabs(document.getElementById("tabs"), document.getElementById("main"), views);
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  document.getElementById("main").before(notice);
  source.subscribe(
    (index) => {
      decode.refresh(source.runs[index]);
      for (const name of ["Training", "Failures", "Numbers"]) views[name].refresh();
    },
    (trouble) => {
      notice.hidden = !trouble;
      notice.textContent = trouble;
    },
  );
}

class Tabs {
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
    this.show("Decode");
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

start();
