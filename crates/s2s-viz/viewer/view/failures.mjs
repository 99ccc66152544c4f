// Failures: accuracy by length and by position, confusions, and a gallery of wrong outputs.

import { button, card, field, h, table } from "./dom.mjs";
import { Chart } from "./chart.mjs";
import { integer, tokenName, visible } from "./format.mjs";
import { marked } from "./marked.mjs";
import { runColor } from "./theme.mjs";

const N_CONFUSIONS = 20;
const N_SHOWN = 25;

export class FailuresView {
  /** `openInDecode` gets a run and the source's texts. */
  constructor(source, openInDecode) {
    this.source = source;
    this.openInDecode = openInDecode;
    this.element = h("div", {});
    this.refresh();
  }

  refresh() {
    const runs = this.source.runs.map((run, i) => ({ run, color: runColor(i) }));
    const known = runs.filter(({ run }) => run.failures);
    const parts = [this.absent(runs)];
    if (known.length) parts.push(this.charts(known), ...known.map(({ run }) => this.details(run)));
    const byLength = this.evaluationsByLength(runs);
    if (byLength) parts.push(byLength);
    this.element.replaceChildren(...parts.filter(Boolean));
  }

  absent(runs) {
    const names = runs.filter(({ run }) => !run.failures).map(({ run }) => run.name);
    if (!names.length) return null;
    const reason = "has no failures.json: it is not finished, or an earlier version of s2s trained it.";
    return h("p", { class: "notice" }, `${names.join(", ")}: ${reason}`);
  }

  charts(known) {
    const name = (run) => (this.source.runs.length > 1 ? run.name : "test split");
    const byLength = new Chart({
      title: "Exact match by length",
      subtitle: "share of test sequences, with 95 % intervals",
      xLabel: "source length",
      scale: "share",
      series: known.map(({ run, color }) => ({
        name: name(run),
        color,
        points: run.failures.by_length.map(({ length, n_exact, n_sequences }) => [
          length,
          n_exact / n_sequences,
          ...wilson(n_exact / n_sequences, n_sequences),
        ]),
      })),
    });
    const byPosition = new Chart({
      title: "Token accuracy by position",
      subtitle: "share of test tokens, with 95 % intervals",
      xLabel: "position in the output",
      scale: "share",
      series: known.map(({ run, color }) => ({
        name: name(run),
        color,
        points: run.failures.by_position.map(({ n_right, n_tokens }, i) => [
          i + 1,
          n_right / n_tokens,
          ...wilson(n_right / n_tokens, n_tokens),
        ]),
      })),
    });
    return h("div", { class: "charts" }, byLength.element, byPosition.element);
  }

  /** Recorded evaluations at lengths beyond the training. */
  evaluationsByLength(runs) {
    const series = runs.flatMap(({ run, color }) =>
      run.lengths.flatMap(({ name, record }) =>
        [...new Set(record.rows.map(({ mode }) => mode))].map((mode, i) => ({
          name: `${run.name} ${name} ${mode}`,
          color,
          isDashed: i > 0,
          points: record.rows
            .filter((row) => row.mode === mode)
            .map((row) => [row.length, row.exact_match, row.exact_match_low, row.exact_match_high]),
        })),
      ),
    );
    if (!series.length) return null;
    return new Chart({
      title: "Exact match on other lengths",
      subtitle: "s2s eval --lengths",
      xLabel: "source length",
      scale: "share",
      series,
    }).element;
  }

  details(run) {
    const { failures } = run;
    const title = this.source.runs.length > 1 ? `: ${run.name}` : "";
    if (!failures.by_length.some(({ n_exact, n_sequences }) => n_exact < n_sequences)) {
      return card(`No wrong output${title}`, h("p", {}, "Every sequence of the test split is correct."));
    }
    return h("div", { class: "columns" }, this.gallery(run, title), this.confusions(failures, title));
  }

  confusions({ confusions }, title) {
    const rows = confusions
      .slice(0, N_CONFUSIONS)
      .map(({ expected, predicted, count }) => [tokenName(expected), tokenName(predicted), integer(count)]);
    return card(
      `Confusions${title}`,
      rows.length
        ? table(`Confusions between tokens${title}`, ["expected", "predicted", "count"], rows, {
            numeric: [2],
          })
        : h("p", {}, "No token was taken for another: the outputs end too early."),
    );
  }

  gallery(run, title) {
    const { wrong } = run.failures;
    const list = h("div", {});
    const filter = h("input", { type: "search", autocomplete: "off", oninput: () => show() });
    const length = h("select", { onchange: () => show() }, h("option", { value: "" }, "all"));
    const lengths = [...new Set(wrong.map(({ source }) => source.length))].sort((a, b) => a - b);
    length.append(...lengths.map((n) => h("option", { value: n }, String(n))));
    const show = () => {
      const words = filter.value.split(/\s+/).filter(Boolean);
      const chosen = wrong.filter(
        ({ source, target, prediction }) =>
          words.every((word) => [source, target, prediction].some((tokens) => tokens.includes(word))) &&
          (!length.value || source.length === Number(length.value)),
      );
      const rows = chosen
        .slice(0, N_SHOWN)
        .map(({ source, target, prediction }) => [
          h("span", { class: "tokens" }, source.map(visible).join(" ")),
          marked(prediction, target),
          button(
            "Open in Decode",
            { "aria-label": `Open in Decode: ${source.slice(0, 8).map(visible).join(" ")}` },
            () => this.openInDecode(run, source),
          ),
        ]);
      list.replaceChildren(
        h(
          "p",
          { class: "muted", role: "status" },
          `${integer(chosen.length)} of the first ${integer(wrong.length)} wrong outputs`,
        ),
        table(
          `Wrong outputs${title}`,
          ["source", "output (wrong tokens marked, expected below)", "explore"],
          rows,
        ),
      );
    };
    show();
    return card(
      `Wrong outputs${title}`,
      h("div", { class: "filters" }, field("Contains tokens", filter), field("Length", length)),
      list,
    );
  }
}

/** The 95 % Wilson score interval of a share of n. */
function wilson(share, n) {
  const z = 1.959963984540054;
  const scale = 1 + (z * z) / n;
  const center = (share + (z * z) / (2 * n)) / scale;
  const half = (z * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n))) / scale;
  return [Math.max(center - half, 0), Math.min(center + half, 1)];
}
