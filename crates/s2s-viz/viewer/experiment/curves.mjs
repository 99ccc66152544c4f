// The learning curves of the first cells of the table.

import { h } from "../view/dom.mjs";
import { Chart } from "../view/chart.mjs";
import { readable } from "../view/format.mjs";
import { runColor } from "../view/theme.mjs";

const MAX_CURVES = 6;

export class CurvesView {
  constructor(study) {
    this.study = study;
    this.charts = study.curves.map(
      ({ title, x_label, is_share }) =>
        new Chart({ title, xLabel: x_label, scale: is_share ? "share" : "log", series: [] }),
    );
    this.note = h("p", { class: "muted" });
    this.element = h(
      "div",
      {},
      this.note,
      h(
        "div",
        { class: "charts" },
        this.charts.map((chart) => chart.element),
      ),
    );
    study.onChange(() => this.refresh());
    this.refresh();
  }

  refresh() {
    const { study } = this;
    const cells = study.shown.slice(0, MAX_CURVES);
    const isCut = study.shown.length > MAX_CURVES;
    const which = isCut ? `The first ${MAX_CURVES} cells of the table; sort or filter to see others. ` : "";
    this.note.textContent = `${which}Line: median over the seeds; bars: all seeds.`;
    study.curves.forEach(({ of_cell }, i) => {
      this.charts[i].update(
        cells
          .map((cell, c) => ({ name: readable(cell.name), color: runColor(c), points: of_cell[cell.name] }))
          .filter(({ points }) => points),
      );
    });
  }
}
