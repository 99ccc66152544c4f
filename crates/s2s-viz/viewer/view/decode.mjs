// Decode: type a sequence, watch it being decoded, and change what the model sees.

import { targetOf } from "./task.mjs";
import { button, card, field, freshId, h } from "./dom.mjs";
import { visible } from "./format.mjs";
import { Heatmap } from "./heatmap.mjs";
import { Links } from "./links.mjs";
import { OutputStrip } from "./output_strip.mjs";
import { Player } from "./player.mjs";
import { SourceStrip } from "./source_strip.mjs";
import { cellText, StepDetail } from "./step_detail.mjs";
import { Vocabulary } from "./vocabulary.mjs";

const N_EXAMPLES = 6;

/** Positions of the temperature's slider; the last one makes all weights equal. */
const TEMPERATURES = [0.25, 0.5, 0.7, 1, 1.4, 2, 4, 8, 16, 1e9];
const NEUTRAL = TEMPERATURES.indexOf(1);

export class DecodeView {
  constructor(source) {
    this.source = source;
    this.run = source.runs[0];
    this.forced = new Map();
    this.excluded = new Set();
    this.build();
    this.choose(this.run);
  }

  build() {
    const help = freshId();
    this.input = h("input", {
      type: "text",
      class: "sequence",
      autocomplete: "off",
      spellcheck: "false",
      "aria-describedby": help,
      oninput: () => this.read(),
    });
    this.help = h("p", { class: "muted", id: help });
    this.error = h("p", { class: "error", role: "alert" });
    this.examples = h("div", { class: "chips", role: "group", "aria-label": "Examples" });
    this.sourceStrip = new SourceStrip((tokens, excluded) => this.edit(tokens, excluded));
    this.output = new OutputStrip((step) => this.player.go(step));
    this.verdict = h("p", { class: "verdict", role: "status" });
    this.player = new Player(
      "Step",
      (step) => `step ${step + 1} of ${this.result?.steps.length ?? 0}`,
      () => this.show(),
    );
    this.temperature = h("input", {
      type: "range",
      min: 0,
      max: TEMPERATURES.length - 1,
      value: NEUTRAL,
      oninput: () => this.decode(),
    });
    this.temperatureText = h("output", {});
    this.reset = button("Undo all changes", {}, () => this.undo());
    this.links = new Links();
    this.heatmap = new Heatmap("Attention", (cell) => this.describe(cell));
    this.cell = h("p", { class: "readout", "aria-live": "polite" });
    this.detail = new StepDetail((step, token) => this.force(step, token));
    this.blind = h(
      "p",
      {},
      "This model has no attention: the decoder knows the source by its first state only.",
    );
    this.attention = h(
      "div",
      {},
      h("div", { class: "pair" }, this.heatmap.element, this.links.element),
      this.cell,
      this.scale(),
      this.changes(),
    );
    this.blocked = h("div", { class: "notice", hidden: true });
    this.body = h(
      "div",
      { class: "decode" },
      card(
        null,
        this.runPicker(),
        h(
          "div",
          { class: "type" },
          field("Source sequence", this.input, { class: "field wide" }),
          button("Random", {}, () => this.random()),
        ),
        this.help,
        this.error,
        this.examples,
      ),
      h(
        "div",
        { class: "columns even" },
        card("Source", this.sourceStrip.element),
        card("Output", this.output.element, this.verdict, this.player.element),
      ),
      h(
        "div",
        { class: "columns" },
        card("Attention", this.blind, this.attention),
        card(null, this.detail.element),
      ),
    );
    this.element = h("div", {}, this.blocked, this.body);
  }

  runPicker() {
    this.picker = h(
      "select",
      { onchange: () => this.choose(this.source.runs[this.picker.selectedIndex]) },
      this.source.runs.map((run) => h("option", {}, run.name)),
    );
    return this.source.runs.length > 1 ? field("Run", this.picker) : null;
  }

  scale() {
    return h("p", { class: "scale muted" }, "weight 0 ", h("span", { class: "ramp" }), " 1");
  }

  changes() {
    return h(
      "div",
      { class: "changes" },
      field("Attention temperature", this.temperature),
      this.temperatureText,
      this.reset,
    );
  }

  /** Shows a run: its examples, and the first of them decoded. */
  choose(run) {
    this.run = run;
    this.picker.selectedIndex = this.source.runs.indexOf(run);
    const obstacle = run.config?.model ? this.source.obstacle(run) : "The configuration could not be read.";
    this.blocked.hidden = !obstacle;
    this.body.hidden = Boolean(obstacle);
    if (obstacle) {
      this.blocked.replaceChildren(this.runPicker() ?? "", h("p", {}, obstacle));
      return;
    }
    this.vocabulary = new Vocabulary(run);
    this.isTransducer = run.config.model.decoder.kind === "transducer";
    this.attention.hidden = run.config.model.attention?.kind === "none";
    this.blind.hidden = !this.attention.hidden;
    this.showHelp();
    const examples = this.exampleSources();
    this.examples.replaceChildren(
      ...examples.map((tokens) =>
        button(
          shorten(tokens.map(visible).join(this.vocabulary.tokenization.between)),
          { class: "chip" },
          () => this.open(run, tokens),
        ),
      ),
    );
    const kept = this.tokens?.every((token) => token <= this.vocabulary.lastSymbol) ? this.tokens : null;
    this.open(run, kept ? kept.map((token) => this.vocabulary.text(token)) : (examples[0] ?? ["1"]));
  }

  showHelp() {
    const { data } = this.run.config;
    const range = this.vocabulary.isText
      ? `${this.vocabulary.tokenization.name} of the vocabulary; others become <unk>.`
      : `Symbols 1 to ${this.vocabulary.lastSymbol}, separated by spaces.`;
    const lengths = this.vocabulary.isText ? "" : ` Trained on lengths ${data.min_len} to ${data.max_len}.`;
    this.help.textContent = range + lengths;
  }

  /** Sources of recorded samples, as texts. */
  exampleSources() {
    const markers = ["<s>", "</s>"];
    const samples = this.run.samples.map(({ source }) => source.filter((text) => !markers.includes(text)));
    const probe = this.run.attention
      .slice(0, 1)
      .map(({ source }) => source.filter((text) => !markers.includes(text)));
    return [...probe, ...samples].filter((source) => source.length).slice(0, N_EXAMPLES);
  }

  /** Decodes a sequence of texts without changes. */
  open(run, texts) {
    if (run !== this.run) return void ((this.tokens = null), this.choose(run), this.open(run, texts));
    this.input.value = this.vocabulary.tokenization.join(texts);
    this.undoQuietly();
    this.read();
  }

  random() {
    const { min_len: least = 1, max_len: most = 8 } = this.vocabulary.isText ? {} : this.run.config.data;
    const draw = (low, high) => low + Math.floor(Math.random() * (high - low + 1));
    const length = draw(Math.max(least, 1), most);
    const tokens = Array.from({ length }, () =>
      draw(this.vocabulary.isText ? 2 : 1, this.vocabulary.lastSymbol),
    );
    this.open(
      this.run,
      tokens.map((token) => this.vocabulary.text(token)),
    );
  }

  /** Reads the input. */
  read() {
    try {
      const tokens = this.vocabulary.parse(this.input.value);
      this.error.textContent = "";
      if (tokens.length !== this.tokens?.length) this.excluded = new Set();
      this.tokens = tokens;
      this.forced = new Map();
      this.decode({ toEnd: true });
    } catch (error) {
      this.error.textContent = error.message;
    }
  }

  edit(tokens, excluded) {
    this.input.value = this.vocabulary.join(tokens);
    Object.assign(this, { tokens, excluded });
    this.decode();
  }

  force(step, token) {
    // What follows a forced token is another output.
    this.forced = new Map([...this.forced].filter(([at]) => at < step));
    if (token !== null) this.forced.set(step, token);
    this.decode({ step });
  }

  undoQuietly() {
    this.forced = new Map();
    this.excluded = new Set();
    this.temperature.value = NEUTRAL;
  }

  undo() {
    this.undoQuietly();
    this.decode();
  }

  isChanged() {
    return this.forced.size > 0 || this.excluded.size > 0 || Number(this.temperature.value) !== NEUTRAL;
  }

  async decode({ toEnd = false, step } = {}) {
    const request = (this.request = (this.request ?? 0) + 1);
    const { run, vocabulary } = this;
    const offset = run.config.data.source_markers ? 1 : 0;
    const source = offset ? [vocabulary.bos, ...this.tokens, vocabulary.eos] : this.tokens;
    const changes = {
      excluded: [...this.excluded].map((s) => s + offset),
      temperature: TEMPERATURES[this.temperature.value],
      forced: Object.fromEntries(this.forced),
    };
    try {
      const result = await this.source.decode(run, vocabulary, source, changes);
      const plain = this.isChanged() ? await this.source.decode(run, vocabulary, source, {}) : result;
      if (request !== this.request) return; // a newer one is under way
      Object.assign(this, { result, plain, modelSource: source });
      this.error.textContent = "";
    } catch (error) {
      this.error.textContent = error.message;
      return;
    }
    const last = this.result.steps.length - 1;
    this.player.stop();
    this.player.reset(last + 1, toEnd ? last : (step ?? this.player.position));
    this.show();
  }

  show() {
    if (!this.result) return;
    const { vocabulary, forced, result } = this;
    const [steps, active] = [result.steps, this.player.position];
    const target = targetOf(this.run.config.data, this.tokens);
    const expected = target && [...target, vocabulary.eos];
    const verdicts = expected && steps.map(({ token }, t) => token === expected[t]);
    this.sourceStrip.update(vocabulary, this.tokens, this.excluded);
    this.output.update({ vocabulary, steps, verdicts, forced, active });
    const map = this.map(verdicts);
    this.links.update({ ...map, active });
    this.heatmap.update({ ...map, active });
    this.detail.update({ vocabulary, steps, forced, active, isFedBack: !this.isTransducer });
    this.showVerdict(target, verdicts);
    const temperature = TEMPERATURES[this.temperature.value];
    const text = temperature > 100 ? "∞: all weights are equal" : String(temperature);
    this.temperatureText.textContent = text;
    this.temperature.setAttribute("aria-valuetext", text);
    this.reset.disabled = !this.isChanged();
    this.describe(this.heatmap.cell);
  }

  map(verdicts) {
    const { vocabulary } = this;
    const offset = this.modelSource.length > this.tokens.length ? 1 : 0;
    return {
      columns: this.modelSource.map((token, s) => ({
        text: visible(vocabulary.text(token)),
        isMuted: this.excluded.has(s - offset),
      })),
      rows: this.result.steps.map(({ token }, t) => ({
        text: token === vocabulary.eos ? "end" : visible(vocabulary.text(token)),
        isWrong: verdicts?.[t] === false,
      })),
      weights: this.result.steps.map(({ weights }) => weights),
    };
  }

  showVerdict(target, verdicts) {
    const { data } = this.run.config;
    const isLong = !this.vocabulary.isText && this.tokens.length > data.max_len;
    const notes = [];
    let name = "neutral";
    if (verdicts) {
      const n = verdicts.filter((isRight) => !isRight).length;
      const isExact = n === 0 && this.result.stopped && verdicts.length === target.length + 1;
      name = isExact ? "right" : "wrong";
      const wrong = n === 0 ? "the end is missing" : `${n} of ${verdicts.length} steps are wrong`;
      const expected = shorten(this.vocabulary.join(target), 60);
      notes.push(
        isExact ? `✓ Correct (${data.task}).` : `✗ Wrong (${data.task}): ${wrong}. Expected ${expected}.`,
      );
    } else if (!this.result.stopped) {
      notes.push("The output reached its limit without an end token.");
    }
    if (isLong) notes.push(`The source is longer than the training lengths (up to ${data.max_len}).`);
    if (this.isChanged()) {
      const plain = this.plain.steps.map(({ token }) =>
        token === this.vocabulary.eos ? "" : this.vocabulary.text(token),
      );
      notes.push(`Without your changes: ${shorten(plain.join(" ").trim(), 60)}.`);
    }
    this.verdict.className = `verdict ${name}`;
    this.verdict.textContent = notes.join(" ");
  }

  describe(cell) {
    const { vocabulary, result } = this;
    if (!cell || !result) {
      this.cell.textContent = "Point at a cell, or move with the arrow keys, to see its numbers.";
      return;
    }
    const step = result.steps[cell.row];
    const name = (token) => (token === vocabulary.eos ? "end" : visible(vocabulary.text(token)));
    this.cell.textContent = cellText(
      step,
      cell.row,
      cell.column,
      name(this.modelSource[cell.column]),
      name(step.token),
    );
  }

  /** The run has changed on the server. */
  refresh(run) {
    if (run !== this.run) return;
    if (this.body.hidden) this.choose(run);
    else this.decode();
  }
}

function shorten(text, most = 26) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
