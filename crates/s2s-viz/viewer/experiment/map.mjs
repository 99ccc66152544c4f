// A heatmap over two axes.

import { card, field, h } from "../view/dom.mjs";
import { integer, readable } from "../view/format.mjs";
import { onTheme, ramp } from "../view/theme.mjs";
import { metricText, rangeOf, settingText } from "./study.mjs";

/** With more columns, the fields show their color alone. */
const MAX_WITH_TEXT = 12;

export class MapView {
  constructor(study) {
    this.study = study;
    this.x = this.picker(study.axes.map(readable), 1);
    this.y = this.picker(study.axes.map(readable), 0);
    this.metric = this.picker(
      study.metrics.map(({ title }) => title),
      0,
    );
    this.frame = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Heatmap" });
    this.scale = h("p", { class: "scale" });
    this.element = card(
      null,
      h("div", { class: "filters" }, field("Rows", this.y), field("Columns", this.x), field("Metric", this.metric)),
      this.frame,
      this.scale,
    );
    study.onChange(() => this.refresh());
    onTheme(this.element, () => this.refresh());
    this.refresh();
  }

  picker(names, chosen) {
    const select = h(
      "select",
      { onchange: () => this.refresh() },
      names.map((name) => h("option", {}, name)),
    );
    select.selectedIndex = chosen;
    return select;
  }

  refresh() {
    const { study } = this;
    const [x, y] = [this.x, this.y].map((select) => study.axes[select.selectedIndex]);
    const index = this.metric.selectedIndex;
    const metric = study.metrics[index];
    const fields = new Map();
    for (const cell of study.shown) {
      const value = cell.means[index];
      if (value === null) continue;
      const key = `${settingText(study.value(cell, y))}\n${settingText(study.value(cell, x))}`;
      const found = fields.get(key) ?? { sum: 0, count: 0 };
      fields.set(key, { sum: found.sum + value, count: found.count + 1 });
    }
    const range = rangeOf([...fields.values()].map(({ sum, count }) => sum / count));
    const columns = study.valuesOf(x);
    const paint = ramp();
    const draw = (yValue, xValue) => {
      const found = fields.get(`${settingText(yValue)}\n${settingText(xValue)}`);
      if (!found) return h("td", { class: "absent" }, "–");
      const mean = found.sum / found.count;
      const color = paint(range.share(mean));
      const text = metricText(metric, mean);
      const title = `${y} ${settingText(yValue)}, ${x} ${settingText(xValue)}: ${text}, ${found.count} cells`;
      const isDense = columns.length > MAX_WITH_TEXT;
      const style = { background: `rgb(${color.join(" ")})`, color: inkOn(color) };
      return h("td", { style, title }, isDense ? h("span", { class: "hidden" }, text) : text);
    };
    this.frame.replaceChildren(
      h(
        "table",
        { class: columns.length > MAX_WITH_TEXT ? "map dense" : "map" },
        h("caption", {}, `${metric.title}, ${metric.unit}: mean of all cells with these values`),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, `${lastPart(y)} \\ ${lastPart(x)}`),
            columns.map((value) => h("th", { scope: "col" }, settingText(value))),
          ),
        ),
        h(
          "tbody",
          {},
          study
            .valuesOf(y)
            .map((row) =>
              h("tr", {}, h("th", { scope: "row" }, settingText(row)), columns.map((column) => draw(row, column))),
            ),
        ),
      ),
    );
    this.scale.replaceChildren(
      metricText(metric, range.low),
      h("span", { class: "ramp" }),
      metricText(metric, range.high),
      ` · ${integer(study.shown.length)} cells`,
    );
  }
}

/** The last part of a key. */
function lastPart(key) {
  return readable(key.split(".").at(-1));
}

/** Black or white, whichever has the higher contrast (WCAG 2, relative luminance). */
function inkOn(color) {
  const [r, g, b] = color.map((byte) => {
    const c = byte / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}
