// Numbers: test metrics, data, configuration, environment, commands.

import { button, card, field, h, table } from "./dom.mjs";
import { decimal, integer, percent, visible } from "./format.mjs";

export class NumbersView {
  constructor(source) {
    this.source = source;
    this.element = h("div", {});
    this.onlyDifferent = true;
    this.refresh();
  }

  refresh() {
    const { runs } = this.source;
    this.element.replaceChildren(
      this.problems(runs) ?? "",
      h(
        "div",
        { class: "halves" },
        this.metrics(runs),
        h("div", {}, this.data(runs), this.environment(runs)),
      ),
      this.configuration(runs),
      ...runs.map((run) => this.commands(run) ?? ""),
    );
  }

  problems(runs) {
    const lines = runs.flatMap((run) =>
      run.problems.map((problem) => `${run.name}: ${visibleText(problem)}`),
    );
    if (!lines.length) return null;
    return h(
      "div",
      { class: "notice" },
      h("p", {}, "This page does not show everything:"),
      h(
        "ul",
        {},
        lines.map((line) => h("li", {}, line)),
      ),
    );
  }

  metrics(runs) {
    const interval = (run, key) => {
      const bounds = run.intervals?.[key];
      return bounds ? ` [${percent(bounds[0], 2)}, ${percent(bounds[1], 2)}]` : "";
    };
    const rows = [
      ["status", (run) => run.record?.status ?? "unknown"],
      ["steps", (run) => integer(run.record?.step)],
      ["best step", (run) => integer(run.record?.best_step)],
      ["parameters", (run) => integer(run.record?.n_parameters)],
      ["weights in this page", (run) => weightsText(run)],
      ["test sequences", (run) => integer(run.record?.test?.n_sequences)],
      ["exact match", (run) => percent(run.record?.test?.exact_match, 2) + interval(run, "exact_match")],
      [
        "token accuracy",
        (run) => percent(run.record?.test?.token_accuracy, 2) + interval(run, "token_accuracy"),
      ],
      ["loss, nats per token", (run) => decimal(run.record?.test?.loss)],
      ["loss, teacher-forced", (run) => decimal(run.record?.test?.forced_loss)],
      ["wall time, s", (run) => decimal(run.record?.elapsed_secs, 1)],
    ];
    return card(
      "Test metrics",
      table(
        "Test metrics",
        ["metric", ...runs.map(({ name }) => name)],
        rows.map(([name, value]) => [name, ...runs.map(value)]),
      ),
      h("p", { class: "muted" }, "Free-running unless it says otherwise; brackets: 95 % Wilson interval."),
    );
  }

  data(runs) {
    const ofText = (run, value) => (run.words.length ? value : undefined);
    const lengths = (run) => run.failures?.by_length;
    const rows = [
      [
        "vocabulary",
        ({ words, config }) =>
          words.length ? `${integer(words.length - 1)} and <unk>` : symbols(config.data?.vocab),
      ],
      [
        "lengths in training",
        ({ longest, config: { data } }) =>
          longest ? `source up to ${longest[0]}, target up to ${longest[1]}` : range(data?.min_len, data?.max_len),
      ],
      ["training sequences", (run) => ofNumbers(run, "train_samples")],
      ["validation sequences", (run) => ofNumbers(run, "val_samples")],
      ["test sequences", (run) => integer(run.record?.test?.n_sequences)],
      ["test tokens, with the end", (run) => integer(run.record?.test?.n_tokens)],
      ["source lengths in the test split", (run) => lengthsText(lengths(run))],
      [
        "test tokens not in the vocabulary",
        (run) => ofText(run, percent(run.record?.test?.text?.unknown_tokens, 2)) ?? "none",
      ],
      [
        "text files",
        (run) =>
          run.corpus.map(({ path, sha256 }) => `${path} (${sha256.slice(0, 12)})`).join(", ") || "none",
      ],
    ];
    return card(
      "Data",
      table(
        "Data",
        ["item", ...runs.map(({ name }) => name)],
        rows.map(([name, value]) => [name, ...runs.map((run) => visibleText(value(run)))]),
      ),
    );
  }

  configuration(runs) {
    const settings = runs.map((run) => flatten(run.config));
    const defaults = runs.map((run) => flatten(run.defaults));
    const keys = [...new Set(settings.flatMap((of) => [...of.keys()]))];
    const holder = h("div", {});
    const toggle = h("input", { type: "checkbox", checked: this.onlyDifferent, onchange: () => show() });
    const show = () => {
      this.onlyDifferent = toggle.checked;
      const isChanged = (key, i) => settings[i].get(key) !== defaults[i].get(key);
      const differs = (key) =>
        runs.length > 1 ? settings.some((of) => of.get(key) !== settings[0].get(key)) : isChanged(key, 0);
      const shown = keys.filter((key) => !toggle.checked || differs(key));
      const cell = (key, i) => {
        const value = settings[i].get(key) ?? "–";
        return isChanged(key, i)
          ? h("mark", { title: `default: ${defaults[i].get(key) ?? "none"}` }, value)
          : value;
      };
      holder.replaceChildren(
        shown.length
          ? table(
              "Configuration",
              ["key", ...runs.map(({ name }) => name)],
              shown.map((key) => [key, ...runs.map((_, i) => cell(key, i))]),
            )
          : h("p", {}, "None."),
      );
    };
    show();
    const label =
      runs.length > 1 ? "only differences between the runs" : "only values that differ from the default";
    return card(
      "Configuration",
      field(label, toggle, { class: "field check" }),
      holder,
      h("p", { class: "muted" }, "Marked: not the default."),
    );
  }

  environment(runs) {
    const rows = [
      ["s2s", (run) => run.environment?.version],
      ["platform", (run) => run.environment?.platform],
      ["CPU", (run) => run.environment?.cpu],
      ["threads", (run) => run.environment?.threads],
      ["device", (run) => run.environment?.device],
      ["kernels", (run) => run.environment?.kernels],
    ];
    return card(
      "Environment",
      table(
        "Environment",
        ["item", ...runs.map(({ name }) => name)],
        rows.map(([name, value]) => [name, ...runs.map((run) => String(value(run) ?? "unknown"))]),
      ),
    );
  }

  commands(run) {
    if (!run.commands.length) return null;
    return card(
      `Reproduce ${run.name}`,
      run.commands.map(({ purpose, line }) =>
        h(
          "div",
          { class: "command" },
          h("p", {}, purpose),
          h(
            "div",
            { class: "scroll", tabindex: "0", role: "region", "aria-label": `${purpose} (${run.name})` },
            h("code", {}, visibleText(line)),
          ),
          copyButton(line, `${purpose} (${run.name})`),
        ),
      ),
    );
  }
}

function copyButton(line, purpose) {
  const control = button("Copy", { "aria-label": `Copy: ${purpose}` }, async () => {
    try {
      await navigator.clipboard.writeText(line);
      control.textContent = "Copied";
    } catch {
      control.textContent = "Select the text to copy it";
    }
  });
  return control;
}

/** The range of symbols of synthetic data. */
function symbols(vocab) {
  return Number.isFinite(vocab) ? `${integer(vocab - 1)} symbols` : "unknown";
}

function range(low, high) {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return "unknown";
  return low === high ? String(low) : `${low} to ${high}`;
}

/** A number of samples in the configuration, which that of text does not have. */
function ofNumbers({ words, config }, key) {
  const number = config.data?.[key];
  if (words.length || !Number.isFinite(number)) return "see the files";
  return number > 0 ? integer(number) : "without repetition";
}

/** Shortest, mean and longest source of counts by length. */
function lengthsText(counts) {
  if (!counts?.length) return "unknown";
  const n = counts.reduce((sum, { n_sequences: of }) => sum + of, 0);
  const tokens = counts.reduce((sum, { length, n_sequences: of }) => sum + length * of, 0);
  return `${range(counts[0].length, counts.at(-1).length)}, mean ${decimal(tokens / n, 1)}`;
}

function weightsText({ weights }) {
  if (!weights) return "none";
  if (!weights.base64) return "too large";
  return weights.precision === "f16" ? "rounded to 16 bits" : "32 bits, unchanged";
}

/** Nested tables as a map from dotted keys to texts. */
function flatten(value, path = "", into = new Map()) {
  if (value && typeof value === "object" && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) flatten(inner, path ? `${path}.${key}` : key, into);
  } else if (path) {
    into.set(path, visibleText(typeof value === "string" && value ? value : JSON.stringify(value)));
  }
  return into;
}

/** A line of text, with its spaces. */
function visibleText(text) {
  return text
    .split(" ")
    .map((word) => (word ? visible(word) : ""))
    .join(" ");
}
