// Parallel coordinates: an axis for each key and one for the metric, a line for each cell.

import { card, field, h, onResize, svg } from "../view/dom.mjs";
import { integer, readable } from "../view/format.mjs";
import { onTheme, ramp } from "../view/theme.mjs";
import { metricText, rangeOf, settingText } from "./study.mjs";

const PLOT_HEIGHT = 340;
const EDGE = { top: 30, bottom: 12, side: 66 };
const LEAST_DISTANCE = 110;
const MAX_LINES = 1000;

export class ParallelView {
  constructor(study) {
    this.study = study;
    this.metric = h(
      "select",
      { onchange: () => this.draw() },
      study.metrics.map(({ title }) => h("option", {}, title)),
    );
    this.plot = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Parallel coordinates" });
    this.readout = h("p", { class: "readout" });
    this.note = h("p", { class: "muted" });
    this.element = card(null, field("Color and last axis", this.metric), this.plot, this.readout, this.note);
    study.onChange(() => this.draw());
    onTheme(this.element, () => this.draw());
    onResize(this.plot, (width) => {
      this.width = width;
      this.draw();
    });
  }

  draw() {
    if (!this.width) return;
    const { study } = this;
    const index = this.metric.selectedIndex;
    const metric = study.metrics[index];
    const cells = study.shown.filter((cell) => cell.means[index] !== null).slice(0, MAX_LINES);
    const range = rangeOf(cells.map((cell) => cell.means[index]));
    const width = Math.max(this.width, 2 * EDGE.side + study.axes.length * LEAST_DISTANCE);
    const distance = (width - 2 * EDGE.side) / study.axes.length;
    const x = (axis) => EDGE.side + axis * distance;
    const y = (share) => PLOT_HEIGHT - EDGE.bottom - share * (PLOT_HEIGHT - EDGE.top - EDGE.bottom);
    const scales = study.axes.map((key) => {
      const values = study.valuesOf(key).map(settingText);
      const places = new Map(values.map((value, i) => [value, values.length > 1 ? i / (values.length - 1) : 0.5]));
      return { values, share: (cell) => places.get(settingText(study.value(cell, key))) };
    });
    const paint = ramp();
    const lines = cells.map((cell) => {
      const shares = [...scales.map(({ share }) => share(cell)), range.share(cell.means[index])];
      const points = shares.map((share, axis) => `${x(axis).toFixed(1)} ${y(share).toFixed(1)}`);
      const color = `rgb(${paint(0.35 + 0.65 * range.share(cell.means[index])).join(" ")})`;
      return svg("path", {
        class: "cell",
        d: `M${points.join("L")}`,
        style: { stroke: color },
        onpointerenter: () => this.read(cell, metric, index),
      });
    });
    const axes = [...study.axes.map(readable), metric.title].map((title, axis) => {
      const isLast = axis === study.axes.length;
      const ends = isLast ? [metricText(metric, range.low), metricText(metric, range.high)] : scales[axis].values;
      return axisOf(title, x(axis), y, ends);
    });
    const label = `Each of ${cells.length} cells as a line over ${study.axes.join(", ")} and ${metric.title}`;
    this.plot.replaceChildren(svg("svg", { width, height: PLOT_HEIGHT, role: "img", "aria-label": label }, lines, axes));
    this.readout.textContent = "Point at a line to read its cell.";
    const isCut = cells.length === MAX_LINES && study.shown.length > MAX_LINES;
    this.note.textContent = isCut
      ? `The first ${integer(MAX_LINES)} of ${integer(study.shown.length)} cells in the order of the table.`
      : "";
  }

  read(cell, metric, index) {
    this.readout.textContent = `${readable(cell.name)}: ${metric.title} ${metricText(metric, cell.means[index])}`;
  }
}

/** A vertical line with its title and its values, at most twelve of them. */
function axisOf(title, x, y, values) {
  const every = Math.ceil(values.length / 12);
  const marks = values.map((value, i) => {
    if (i % every) return null;
    const share = values.length > 1 ? i / (values.length - 1) : 0.5;
    return svg("text", { class: "tick halo", x: x + 6, y: y(share) + 4 }, value.slice(0, 14));
  });
  return [
    svg("line", { class: "axis", x1: x, x2: x, y1: y(0), y2: y(1) }),
    svg("text", { class: "tick", x, y: EDGE.top - 14, "text-anchor": "middle" }, title.split(".").at(-1).slice(0, 18)),
    marks,
  ];
}
