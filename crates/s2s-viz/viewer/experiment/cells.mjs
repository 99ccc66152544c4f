// The table of cells.

import { button, card, h } from "../view/dom.mjs";
import { integer, readable } from "../view/format.mjs";
import { metricText, settingText } from "./study.mjs";

/** Rows are added in portions, so that a page with 10,000 cells opens at once. */
const N_ROWS = 200;

export class CellsView {
  constructor(study) {
    this.study = study;
    this.nRows = N_ROWS;
    this.head = h("tr", {});
    this.body = h("tbody", {});
    this.more = button("", {}, () => {
      this.nRows += N_ROWS;
      this.refresh();
    });
    const caption = "Cells: mean over the seeds, and its 95 % interval";
    this.element = card(
      null,
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Cells" },
        h("table", { class: "cells" }, h("caption", {}, caption), h("thead", {}, this.head), this.body),
      ),
      this.more,
    );
    study.onChange(() => this.refresh());
    this.refresh();
  }

  refresh() {
    const { study } = this;
    const columns = [
      ...study.axes.map((key) => [key, readable(key), false]),
      ...study.metrics.map(({ key, title }) => [key, title, true]),
    ];
    this.head.replaceChildren(
      this.header("cell", "cell", false),
      h("th", { scope: "col" }, "runs"),
      ...columns.map(([key, title, isNumber]) => this.header(key, title, isNumber)),
    );
    this.body.replaceChildren(...study.shown.slice(0, this.nRows).map((cell) => this.row(cell)));
    const left = study.shown.length - this.nRows;
    this.more.hidden = left <= 0;
    this.more.textContent = `Show more (${integer(left)} left)`;
  }

  header(key, title, isNumber) {
    const { sortKey, isDescending } = this.study;
    const isSorted = sortKey === key;
    const arrow = isSorted ? (isDescending ? " ↓" : " ↑") : "";
    return h(
      "th",
      {
        scope: "col",
        class: isNumber ? "number" : null,
        "aria-sort": isSorted ? (isDescending ? "descending" : "ascending") : null,
      },
      button(title + arrow, { class: "sort" }, () => this.sort(key)),
    );
  }

  /** Sorts, and keeps the focus on the header. */
  sort(key) {
    const place = [...this.head.querySelectorAll("button")].indexOf(document.activeElement);
    this.study.sort(key);
    if (place >= 0) this.head.querySelectorAll("button")[place].focus();
  }

  row(cell) {
    const { study } = this;
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, readable(cell.name)),
      h("td", {}, cell.runs.map((run) => this.run(run))),
      cell.settings.map((value) => h("td", {}, settingText(value))),
      study.metrics.map((metric, i) =>
        h("td", { class: "number" }, metricText(metric, cell.means[i]), this.interval(metric, cell.intervals[i])),
      ),
    );
  }

  interval(metric, ends) {
    if (!ends) return null;
    const [low, high] = ends.map((end) => metricText(metric, end));
    return h("small", { class: "interval" }, `[${low}, ${high}]`);
  }

  run({ name, page, status }) {
    const label = readable(name);
    const shown = page ? h("a", { href: page }, label) : h("span", {}, label);
    return [shown, status === "finished" ? " " : h("small", {}, ` ${status} `)];
  }
}
