// The page's model against `s2s predict`.
//
//   node forward.mjs VIEWER REPORT PREDICTIONS
//
// VIEWER is the folder of the modules, REPORT a page of `s2s report` with weights, and PREDICTIONS the
// output of `s2s predict --json`, with or without `--attention`, for the same run. Prints the largest
// differences; fails if a token differs, or a weight by more than 1e-4.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

const LARGEST_DIFFERENCE = 1e-4;

/** Loads the modules of the viewer. */
export async function loadViewer(folder) {
  const load = (path) => import(pathToFileURL(resolve(folder, path)));
  const [embedded, vocabulary, task] = await Promise.all(
    ["data/embedded.mjs", "view/vocabulary.mjs", "view/task.mjs"].map(load),
  );
  return { ...embedded, ...vocabulary, ...task };
}

/** The data block of a page. */
export function pageData(file) {
  const [, data] = readFileSync(file, "utf8").match(/<script [^>]*id="data">(.*?)<\/script>/s);
  return JSON.parse(data);
}

/** Compares the page's first run with predictions. */
export async function compare(viewer, data, predictions) {
  const source = new viewer.EmbeddedSource(data);
  const run = source.runs[0];
  const tokens = new viewer.Vocabulary(run);
  // Numbers are ids: a model that is hardly trained also gives the start marker, which is no symbol.
  const ids = (all) => all.map((token) => (typeof token === "number" ? token : tokens.token(token)));
  const result = { sequences: 0, different: [], weight: 0 };
  for (const prediction of predictions) {
    const { bos, eos } = tokens;
    const plain = ids(prediction.source);
    const input = run.config.data.source_markers ? [bos, ...plain, eos] : plain;
    const { steps, stopped } = await source.decode(run, tokens, input, {});
    const output = steps.map(({ token }) => token).filter((token) => token !== eos);
    const expected = ids(prediction.prediction);
    const isSame = stopped === prediction.stopped && output.join() === expected.join();
    if (!isSame) result.different.push(prediction.source.join(" "));
    else {
      for (const [t, row] of (prediction.weights ?? []).entries()) {
        for (const [s, weight] of row.entries()) {
          result.weight = Math.max(result.weight, Math.abs(weight - steps[t].weights[s]));
        }
      }
    }
    result.sequences += 1;
  }
  return result;
}

export function isClose({ sequences, different, weight }) {
  return sequences > 0 && different.length === 0 && weight <= LARGEST_DIFFERENCE;
}

/** Samples whose target is not what the viewer's task gives. */
export function wrongTargets(viewer, { runs: [run] }) {
  const tokens = new viewer.Vocabulary(run);
  const ids = (texts) =>
    texts.filter((text) => !["<s>", "</s>"].includes(text)).map((text) => tokens.token(text));
  return run.samples.filter(({ source, target }) => {
    const expected = viewer.targetOf(run.config.data, ids(source));
    return expected && expected.join() !== ids(target).join();
  });
}

if (process.argv[1] === import.meta.filename) {
  const [folder, report, predictions] = process.argv.slice(2);
  const viewer = await loadViewer(folder);
  const data = pageData(report);
  const lines = readFileSync(predictions, "utf8").trim().split("\n");
  const result = await compare(
    viewer,
    data,
    lines.map((line) => JSON.parse(line)),
  );
  const targets = wrongTargets(viewer, data);
  console.log(JSON.stringify({ ...result, targets }));
  process.exitCode = isClose(result) && targets.length === 0 ? 0 : 1;
}
