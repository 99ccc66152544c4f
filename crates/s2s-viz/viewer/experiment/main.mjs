// The page of an experiment: its cells as a table, a heatmap, parallel coordinates and curves.

import { field, h } from "../view/dom.mjs";
import { integer, readable } from "../view/format.mjs";
import { Tabs } from "../view/tabs.mjs";
import { startTheme } from "../view/theme.mjs";
import { CellsView } from "./cells.mjs";
import { CurvesView } from "./curves.mjs";
import { MapView } from "./map.mjs";
import { ParallelView } from "./parallel.mjs";
import { Study } from "./study.mjs";

function start() {
  const study = new Study(JSON.parse(document.getElementById("data").textContent));
  startTheme(document.getElementById("theme"));
  document.getElementById("runs").textContent = readable(study.title);
  const views = { Cells: new CellsView(study) };
  if (study.axes.length >= 2) views.Map = new MapView(study);
  if (study.axes.length >= 3) views.Axes = new ParallelView(study);
  if (study.curves.length) views.Curves = new CurvesView(study);
  const main = document.getElementById("main");
  main.before(head(study));
  new Tabs(document.getElementById("tabs"), main, views);
}

/** The question, what is missing, and the filter that all views share. */
function head(study) {
  const count = h("p", { class: "muted", role: "status" });
  const show = () => {
    const unknown = study.unknown();
    const note = unknown.length ? ` No cell has ${unknown.map(readable).join(", ")}.` : "";
    count.textContent = `${integer(study.shown.length)} of ${integer(study.cells.length)} cells.${note}`;
  };
  study.onChange(show);
  show();
  const example = study.metrics.length ? `${study.metrics[0].key}>0.9` : "name";
  const input = h("input", {
    type: "search",
    placeholder: `part of a name, KEY=VALUE, ${example}`,
    oninput: () => study.filter(input.value),
  });
  return h(
    "section",
    { class: "card", "aria-label": "Experiment" },
    h("p", {}, study.question),
    study.notes.map((note) => h("p", {}, note)),
    h("div", { class: "filters" }, field("Filter", input, { class: "field wide" }), count),
  );
}

start();
