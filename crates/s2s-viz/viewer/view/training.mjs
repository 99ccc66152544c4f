// Training: learning curves, and the attention of a few sequences at each evaluation.

import { button, card, field, h, table } from "./dom.mjs";
import { Chart } from "./chart.mjs";
import { integer, percent, tokenName, visible } from "./format.mjs";
import { Heatmap } from "./heatmap.mjs";
import { marked } from "./marked.mjs";
import { Player } from "./player.mjs";
import { runColor } from "./theme.mjs";

const CURVES = [
  {
    title: "Loss",
    subtitle: "nats per token, logarithmic; dashed: training",
    scale: "log",
    lines: [
      ["val_loss", false],
      ["train_loss", true],
    ],
  },
  {
    title: "Token accuracy",
    subtitle: "validation, free-running; dashed: training",
    scale: "share",
    lines: [
      ["val_token_accuracy", false],
      ["train_token_accuracy", true],
    ],
  },
  {
    title: "Exact match",
    subtitle: "share of validation sequences with every token correct",
    scale: "share",
    lines: [["val_exact_match", false]],
  },
];

export class TrainingView {
  /** `openInDecode` gets a run and the source's texts. */
  constructor(source, openInDecode) {
    this.source = source;
    this.openInDecode = openInDecode;
    this.runIndex = 0;
    this.charts = CURVES.map(
      (curve) => new Chart({ ...curve, xLabel: "step", series: [], onPick: (step) => this.goTo(step) }),
    );
    this.player = new Player(
      "Evaluation",
      (i) => `step ${this.steps()[i] ?? 0}`,
      () => this.show(),
    );
    this.heatmap = new Heatmap("Attention at this evaluation", (cell) => this.describe(cell));
    this.caption = h("p", { role: "status" });
    this.cell = h("p", { class: "readout", "aria-live": "polite" });
    this.live = h("p", { class: "muted", role: "status" });
    this.samples = h("div", {});
    this.wrong = h("div", {});
    this.sampleIndex = 0;
    this.samplePicker = h("div", {});
    const probe = card(
      "One sequence while the model learns",
      this.picker(),
      this.samplePicker,
      this.caption,
      this.heatmap.element,
      this.cell,
    );
    this.element = h(
      "div",
      {},
      card(null, this.live, this.player.element),
      h(
        "div",
        { class: "charts" },
        this.charts.map((chart) => chart.element),
      ),
      h(
        "div",
        { class: "columns even" },
        probe,
        h(
          "div",
          {},
          card("Wrong on the validation split at this evaluation", this.wrong),
          card("Samples of the test split after training", this.samples),
        ),
      ),
    );
    this.refresh();
  }

  picker() {
    if (this.source.runs.length < 2) return null;
    const select = h(
      "select",
      {
        onchange: () => {
          this.runIndex = select.selectedIndex;
          this.refresh();
        },
      },
      this.source.runs.map((run) => h("option", {}, run.name)),
    );
    return field("Run", select);
  }

  /** The sources whose attention is recorded, as lists of texts. */
  sources() {
    const found = new Map(this.run.attention.map(({ source }) => [JSON.stringify(source), source]));
    return [...found.values()];
  }

  /** Lets the reader choose among the recorded sequences. */
  showSamplePicker() {
    const sources = this.sources();
    this.sampleIndex = Math.min(this.sampleIndex, Math.max(sources.length - 1, 0));
    if (sources.length < 2) return this.samplePicker.replaceChildren();
    const select = h(
      "select",
      {
        onchange: () => {
          this.sampleIndex = select.selectedIndex;
          this.show();
        },
      },
      sources.map((source, i) => h("option", {}, `${i + 1}: ${shortened(source)}`)),
    );
    select.selectedIndex = this.sampleIndex;
    this.samplePicker.replaceChildren(field("Sequence", select));
  }

  get run() {
    return this.source.runs[this.runIndex];
  }

  /** Steps of the evaluations of all runs. */
  steps() {
    const all = this.source.runs.flatMap(({ metrics, attention }) =>
      [...metrics, ...attention].map(({ step }) => step),
    );
    return [...new Set(all)].sort((a, b) => a - b);
  }

  /** Reads the runs again. */
  refresh() {
    const wasLast = this.player.position === this.player.last;
    const { runs } = this.source;
    CURVES.forEach(({ lines }, i) => {
      this.charts[i].update(
        runs.flatMap((run, r) =>
          lines.map(([key, isDashed]) => ({
            name: [runs.length > 1 && run.name, isDashed ? "training" : "validation"]
              .filter(Boolean)
              .join(" "),
            color: runColor(r),
            isDashed,
            points: run.metrics.map((record) => [record.step, record[key]]),
          })),
        ),
      );
    });
    const count = this.steps().length;
    this.player.reset(count, wasLast ? count - 1 : this.player.position);
    const running = runs.filter(({ record }) => record?.status === "running").map(({ name }) => name);
    this.showSamplePicker();
    this.showSamples();
    this.live.textContent = running.length ? `Still training, or killed: ${running.join(", ")}.` : "";
    this.show();
  }

  /** A row of a table: source, output, and a button that opens the source. */
  row({ source, target, prediction }) {
    const { run } = this;
    const symbols = source.filter((text) => text !== "<s>" && text !== "</s>");
    return [
      h("span", { class: "tokens" }, symbols.map(visible).join(" ")),
      marked(prediction, target),
      button("Open", { "aria-label": `Open in Decode: ${source.slice(0, 8).map(visible).join(" ")}` }, () =>
        this.openInDecode(run, symbols),
      ),
    ];
  }

  /** The wrong outputs of the latest evaluation up to this step. */
  showWrong(record) {
    const rows = (record?.outputs ?? []).map((output) => this.row(output));
    const none = record
      ? `None at step ${integer(record.step)}.`
      : "wrong.jsonl has no record of this step.";
    this.wrong.replaceChildren(
      rows.length
        ? table("Wrong outputs", ["source", "output (wrong tokens marked, expected below)", "explore"], rows)
        : h("p", { class: "muted" }, none),
    );
  }

  showSamples() {
    const { run } = this;
    const rows = run.samples.map((sample) => [sample.is_exact ? "✓" : "✗", ...this.row(sample)]);
    this.samples.replaceChildren(
      rows.length
        ? table(
            "Samples",
            ["exact", "source", "output (wrong tokens marked, expected below)", "explore"],
            rows,
          )
        : h("p", { class: "muted" }, "samples.jsonl is written at the end of a run."),
    );
  }

  goTo(step) {
    const index = this.steps().indexOf(step);
    if (index >= 0) this.player.go(index);
  }

  show() {
    const step = this.steps()[this.player.position];
    for (const chart of this.charts) chart.moveTo(step);
    // The latest record up to this step: runs may be evaluated at different steps.
    const upTo = (records) => records.findLast((record) => record.step <= step);
    const source = JSON.stringify(this.sources()[this.sampleIndex]);
    const record = upTo(this.run.attention.filter((record) => JSON.stringify(record.source) === source));
    this.showWrong(upTo(this.run.wrong));
    const metrics = upTo(this.run.metrics);
    this.record = record;
    if (!record) {
      this.caption.textContent =
        step === undefined
          ? "This run has no evaluation yet."
          : "attention.jsonl has no record of this step.";
      this.heatmap.update({ columns: [], rows: [], weights: [] });
      this.describe(null);
      return;
    }
    const expected = [...record.target, "</s>"];
    const rows = record.prediction.map((text, t) => ({
      text: tokenName(text),
      isWrong: text !== expected[t],
    }));
    const n = rows.filter(({ isWrong }) => isWrong).length;
    const verdict = record.is_exact
      ? "correct"
      : n
        ? `${n} of ${rows.length} tokens wrong`
        : "the end is missing";
    const accuracy = metrics ? `; validation exact match ${percent(metrics.val_exact_match)}` : "";
    const hasWeights = record.thousandths.length > 0;
    const missing = hasWeights
      ? ""
      : " No attention weights were recorded: the model has none, or the sequence is too long.";
    this.caption.textContent = `Step ${integer(record.step)}: ${verdict}${accuracy}.${missing}`;
    this.heatmap.update({
      columns: record.source.map((text) => ({ text: visible(text) })),
      rows: hasWeights ? rows : [],
      weights: record.thousandths.map((row) => row.map((weight) => weight / 1000)),
    });
    this.describe(this.heatmap.cell);
  }

  describe(cell) {
    const weight = cell && this.record?.thousandths[cell.row]?.[cell.column];
    this.cell.textContent = Number.isFinite(weight)
      ? `output ${cell.row + 1} looks at source ${cell.column + 1}: weight ${(weight / 1000).toFixed(3)}`
      : "";
  }
}

/** The beginning of a sequence. */
function shortened(source) {
  const shown = source.slice(0, 10).map(visible).join(" ");
  return source.length > 10 ? `${shown} …` : shown;
}
