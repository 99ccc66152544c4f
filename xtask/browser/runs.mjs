// Runs to look at, trained by the program under test.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ATTENTIONS = [
  ["additive"],
  ["dot"],
  ["dot", "model.attention.scaled=true"],
  ["general"],
  ["location"],
  ["location", "model.attention.start=last", "model.attention.width=4", "model.bridge=zero"],
  ["dynamic-convolution"],
  ["dynamic-convolution", "model.attention.start=first"],
  ["ntm"],
  ["ntm", "model.attention.start=first", "model.layers=2"],
  ["location-relative"],
  ["location-relative", "data.source_markers=true", "model.bridge=concat", "model.layers=2"],
  ["none"],
];

const OPTIONS = [
  ["model.layers=2", "model.residual=true"],
  ["model.layers=3", "model.residual=true", "model.layer_norm=true", "model.input_feeding=true"],
];

const WITHOUT_UNITS = ["dot", "general", "none"];

export class Workshop {
  constructor(binary, folder) {
    this.binary = binary;
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  s2s(...args) {
    const options = { cwd: this.folder, maxBuffer: 1 << 30, stdio: ["pipe", "pipe", "ignore"] };
    return execFileSync(this.binary, args, options).toString();
  }

  /** Starts the program, and calls `onLine` with lines of its standard output. */
  start(args, onLine = () => {}) {
    const child = spawn(this.binary, args, { cwd: this.folder, stdio: ["ignore", "pipe", "ignore"] });
    child.stdout.on("data", (text) => String(text).split("\n").filter(Boolean).forEach(onLine));
    return child;
  }

  path(...parts) {
    return join(this.folder, ...parts);
  }

  /** Trains a small run. If it exists, its page is written again, since the viewer may have changed. */
  train(name, settings) {
    this.trainOn(name, [...SYMBOLS, ...SMALL, ...settings]);
  }

  trainOn(name, settings) {
    if (existsSync(this.path(name, "report.html"))) {
      this.s2s("report", name);
    } else {
      const sets = settings.flatMap((setting) => ["--set", setting]);
      this.s2s("train", "--run-dir", name, ...sets);
    }
  }

  /** Trains on text, and returns the answers of `s2s predict` to some lines. */
  text(tokens) {
    const next = random(7);
    const letters = ["a", "b", "ß", "é", "👩🏽‍🚀"];
    const word = () => Array.from({ length: 1 + next(6) }, () => letters[next(letters.length)]);
    const between = tokens === "words" ? " " : "";
    const pairs = Array.from({ length: 400 }, word);
    const lines = new Set(pairs.map((line) => `${line.join(between)}\t${line.toReversed().join(between)}`));
    writeFileSync(this.path(`${tokens}.tsv`), `${[...lines].join("\n")}\n`);
    const name = `text-${tokens}`;
    this.trainOn(name, [...SMALL, `data.file=${tokens}.tsv`, `data.tokens=${tokens}`]);
    return { name, lines: Array.from({ length: 100 }, word).map((line) => line.join(between)) };
  }

  /** Every cell with every attention, with options, and with a transducer. */
  architectures() {
    const units = (kind) => (WITHOUT_UNITS.includes(kind) ? [] : ["model.attention.units=16"]);
    return ["gru", "lstm"].flatMap((cell) => [
      ...ATTENTIONS.map(([kind, ...more], i) => ({
        name: `${cell}-${i}-${kind}`,
        settings: [`model.cell=${cell}`, `model.attention.kind=${kind}`, ...units(kind), ...more],
      })),
      ...OPTIONS.map((options, i) => ({
        name: `${cell}-options-${i}`,
        settings: [`model.cell=${cell}`, "model.attention.units=16", ...options],
      })),
      {
        name: `${cell}-transducer`,
        settings: [`model.cell=${cell}`, "model.decoder.kind=transducer", "data.source_markers=true"],
      },
    ]);
  }

  /** The answers of `s2s predict` to random sequences. */
  predictions(run, count, options) {
    const next = random(count);
    const lines = Array.from({ length: count }, () =>
      Array.from({ length: 1 + next(16) }, () => 1 + next(10)).join(" "),
    );
    return this.answers(run, lines, options);
  }

  /** The answers of `s2s predict` to these lines. */
  answers(run, lines, { attention = true } = {}) {
    const file = this.path(`${run}.txt`);
    writeFileSync(file, `${lines.join("\n")}\n`);
    const flags = attention ? ["--json", "--attention"] : ["--json"];
    const input = readFileSync(file);
    const options = { cwd: this.folder, input, maxBuffer: 1 << 30, stdio: ["pipe", "pipe", "ignore"] };
    const output = execFileSync(this.binary, ["predict", run, ...flags], options).toString();
    return output
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  }
}

export const SYMBOLS = [
  "data.vocab=11",
  "data.max_len=8",
  "data.train_samples=640",
  "data.val_samples=60",
  "data.test_samples=60",
];

export const SMALL = [
  "model.embedding=16",
  "model.hidden=16",
  "model.decoder=32",
  "train.epochs=0",
  "train.max_steps=150",
  "train.batch_size=32",
  "train.learning_rate=1e-2",
  "train.warmup_steps=0",
  "train.eval_every=30",
];

/** Uniform integers below a bound, the same ones for a seed. */
function random(seed) {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}
