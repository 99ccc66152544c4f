// What must hold of the pages. Each check returns a list of problems.

import { execFileSync } from "node:child_process";
import { appendFileSync, cpSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

import { compare, isClose, pageData, wrongTargets } from "./forward.mjs";
import { SMALL, SYMBOLS } from "./runs.mjs";
import { outputOf, overflow, SCHEMES, show, SIZES, unreachable, VIEWS, violations } from "./pages.mjs";

const MAX_REPORT_BYTES = 3_000_000;

/** The page's model gives the tokens and the attention of `s2s predict`, for every architecture. */
export async function modelEqualsPredict({ workshop, viewer, sequences, log }) {
  const problems = [];
  for (const { name, settings } of workshop.architectures()) {
    workshop.train(name, settings);
    const data = pageData(workshop.path(name, "report.html"));
    const attention = !name.endsWith("none");
    const result = await compare(viewer, data, workshop.predictions(name, sequences, { attention }));
    log(`  ${name}: ${result.sequences} sequences, largest difference ${result.weight.toExponential(1)}`);
    if (!isClose(result)) problems.push(`${name}: ${JSON.stringify(result)}`);
    if (wrongTargets(viewer, data).length) problems.push(`${name}: wrong targets`);
  }
  return problems;
}

/** The same for words, characters and bytes; and the page divides a line as the program does. */
export async function textIsDecoded({ workshop, viewer }) {
  const problems = [];
  for (const tokens of ["words", "chars", "bytes"]) {
    const { name, lines } = workshop.text(tokens);
    const data = pageData(workshop.path(name, "report.html"));
    const vocabulary = new viewer.Vocabulary(data.runs[0]);
    const answers = workshop.answers(name, lines);
    const result = await compare(viewer, data, answers);
    if (!isClose(result)) problems.push(`${name}: ${JSON.stringify(result)}`);
    for (const [i, { source }] of answers.entries()) {
      const own = vocabulary.parse(lines[i]).map((token) => vocabulary.text(token));
      if (own.join("|") !== source.join("|")) problems.push(`${name}: ${lines[i]}: ${own}, not ${source}`);
    }
  }
  return problems;
}

/** The page's model equals the server's, with every intervention. */
export async function modelEqualsServer({ workshop, viewer }) {
  const problems = [];
  const names = workshop.architectures().map(({ name }) => name);
  await withPlayground(workshop, names, async (url) => {
    const token = (await (await fetch(url)).text()).match(/"token":"([0-9a-f]+)"/)[1];
    for (const [index, name] of names.entries()) {
      const data = pageData(workshop.path(name, "report.html"));
      const source = new viewer.EmbeddedSource(data);
      const run = source.runs[0];
      const tokens = new viewer.Vocabulary(run);
      const plain = [3, 1, 4, 1, 5, 9, 2];
      const input = run.config.data.source_markers ? [tokens.bos, ...plain, tokens.eos] : plain;
      for (const changes of [
        {},
        { excluded: [6, 2] },
        { temperature: 4 },
        { forced: { 1: 7 } },
        { excluded: [0], temperature: 0.5, forced: { 0: 2 } },
      ]) {
        const own = await source.decode(run, tokens, input, changes);
        const body = JSON.stringify({ run: index, source: input, ...changes });
        const headers = { "X-Page-Token": token };
        const response = await fetch(`${url}decode`, { method: "POST", headers, body });
        const other = await response.json();
        const problem = difference(own, other);
        if (problem) problems.push(`${name} ${JSON.stringify(changes)}: ${problem}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 130)); // the server limits the rate
    }
  });
  return problems;
}

/** How two answers differ, or null. */
function difference(own, other) {
  const tokens = ({ steps }) => steps.map(({ token }) => token).join(" ");
  if (!other.steps) return JSON.stringify(other);
  if (tokens(own) !== tokens(other)) return `${tokens(own)} and ${tokens(other)}`;
  for (const [t, step] of own.steps.entries()) {
    const numbers = (from) => ({ weights: from.weights, probability: [from.probability], ...from.controls });
    const [a, b] = [numbers(step), numbers(other.steps[t])];
    if (Object.keys(a).sort().join() !== Object.keys(b).sort().join())
      return `${Object.keys(a)} and ${Object.keys(b)}`;
    for (const key in a) {
      for (const [i, number] of Array.from(a[key]).entries()) {
        if (!(Math.abs(number - b[key][i]) <= 1e-3 * Math.max(1, Math.abs(number)))) {
          return `step ${t}: ${key}[${i}] is ${number} and ${b[key][i]}`;
        }
      }
    }
  }
  return null;
}

/** A report at all sizes and in both schemes: no errors, no overflow, accessible. */
export async function reportIsSound({ browser, workshop, run, pictures }) {
  const file = workshop.path(run, "report.html");
  const problems = [];
  if (statSync(file).size > MAX_REPORT_BYTES) problems.push("the report is larger than 3 MB");
  for (const size of SIZES) {
    for (const scheme of SCHEMES) {
      const found = await browser.visit(pathToFileURL(file).href, { size, scheme }, async (page) => {
        const inside = [];
        for (const view of VIEWS) {
          await show(page, view);
          const picture = `${pictures}/${run}-${view}-${size.width}-${scheme}.png`;
          await page.screenshot({ path: picture, fullPage: true });
          const here = [...(await overflow(page)), ...(await violations(page)), ...(await unreachable(page))];
          inside.push(...here.map((problem) => `${view}: ${problem}`));
        }
        return inside;
      });
      problems.push(...found.map((problem) => `${size.width} px, ${scheme}: ${problem}`));
    }
  }
  return problems;
}

const EXPERIMENT = `title = "Widths, attention and rates </script>"
question = "Which of width, attention and learning rate decides?"
seeds = 2
set = [${[...SYMBOLS, ...SMALL, "train.max_steps=60"].map((set) => JSON.stringify(set)).join(", ")}]
[matrix]
model.attention.kind = ["additive", "ntm", "none"]
model.hidden = [8, 16]
train.learning_rate = [0.003, 0.01]
`;

/** The page of an experiment at all sizes and in both schemes; it sorts, filters and links. */
export async function experimentIsSound({ browser, workshop, pictures }) {
  writeFileSync(workshop.path("grid.toml"), EXPERIMENT);
  workshop.s2s("experiment", "grid.toml", "--out", "grid");
  const url = pathToFileURL(workshop.path("grid", "report.html")).href;
  const problems = [];
  for (const size of SIZES) {
    for (const scheme of SCHEMES) {
      const found = await browser.visit(url, { size, scheme }, async (page) => {
        const inside = [];
        for (const view of ["Cells", "Map", "Axes", "Curves"]) {
          await show(page, view);
          const picture = `${pictures}/experiment-${view}-${size.width}-${scheme}.png`;
          await page.screenshot({ path: picture, fullPage: true });
          inside.push(...(await overflow(page)), ...(await violations(page)), ...(await unreachable(page)));
        }
        return inside;
      });
      problems.push(...found.map((problem) => `${size.width} px, ${scheme}: ${problem}`));
    }
  }
  const found = await browser.visit(url, {}, async (page) => {
    const inside = [];
    const rows = page.locator("table.cells tbody tr");
    if ((await rows.count()) !== 12) inside.push(`${await rows.count()} rows, not 12`);
    await page.getByLabel("Filter").fill("model.hidden=8 none");
    if ((await rows.count()) !== 2) inside.push(`${await rows.count()} filtered rows, not 2`);
    await page.getByLabel("Filter").fill("");
    const times = async () => {
      const texts = await page.locator("table.cells tbody tr td:last-child").allTextContents();
      return texts.map((text) => Number.parseFloat(text));
    };
    await page.getByRole("button", { name: "time, s" }).click();
    const sorted = await times();
    if (sorted.some((time, i) => i && time < sorted[i - 1])) inside.push(`not sorted: ${sorted}`);
    await page.locator("table.cells a").first().click();
    await page.waitForURL(/seed0-[0-9a-f]{8}\/report\.html$/);
    return inside.concat(await page.getByRole("tab", { name: "Decode" }).count() ? [] : ["no page of the run"]);
  });
  // The link leaves the page on purpose.
  return problems.concat(found.filter((problem) => !problem.startsWith("request to file:")));
}

/** The same run gives the same bytes, now and at the end of training. */
export function reportIsDeterministic({ workshop, run }) {
  const before = readFileSync(workshop.path(run, "report.html"));
  workshop.s2s("report", run);
  const after = readFileSync(workshop.path(run, "report.html"));
  return before.equals(after) ? [] : ["another report of the same run has other bytes"];
}

/** Typed sequences give the output of `s2s predict`. */
export async function typingDecodes(url, { browser, workshop, run }) {
  return browser.visit(url, {}, async (page) => {
    const problems = [];
    for (const { source, prediction } of workshop.predictions(run, 25)) {
      await page.getByLabel("Source sequence").fill(source.join(" "));
      await page.waitForTimeout(120);
      const output = await outputOf(page);
      if (output !== prediction.join(" ")) problems.push(`${source}: ${output}, not ${prediction}`);
    }
    return problems;
  });
}

/** Everything that a reader does, with the keyboard alone. */
export async function keyboardControlsEverything({ browser, workshop, run }) {
  const url = pathToFileURL(workshop.path(run, "report.html")).href;
  return browser.visit(url, {}, async (page) => {
    const problems = [];
    const check = (isTrue, what) => isTrue || problems.push(what);
    const press = async (...keys) => {
      for (const key of keys) await page.keyboard.press(key);
      await page.waitForTimeout(60);
    };
    const focused = () =>
      page.evaluate(() => document.activeElement.textContent || document.activeElement.tagName);

    await page.getByRole("tab", { name: "Decode" }).focus();
    await press("ArrowRight");
    check(
      await page.getByRole("tabpanel", { name: "Training" }).isVisible(),
      "→ does not select the next view",
    );
    await press("ArrowLeft", "Tab");
    check((await focused()) === "INPUT", "Tab does not lead from the tabs to the input");
    await press("Control+A");
    await page.keyboard.type("3 1 4 1 5");
    await page.waitForTimeout(120);
    const before = await outputOf(page);

    await page.getByRole("button", { name: /^source 1:/ }).focus();
    await press("Enter");
    await page.getByLabel("hide from attention").focus();
    await press("Space");
    check(await page.getByText("Without your changes").isVisible(), "Space does not hide a token");
    await page.getByRole("button", { name: "Undo all changes" }).focus();
    await press("Enter");
    check((await outputOf(page)) === before, "undo does not restore the output");

    await page.getByLabel("Attention temperature").focus();
    await press("ArrowRight", "ArrowRight");
    check(await page.getByText("Without your changes").isVisible(), "→ does not raise the temperature");
    await page.getByRole("button", { name: "Undo all changes" }).focus();
    await press("Enter");

    await page.getByLabel("Step", { exact: true }).focus();
    await press("Home");
    check(
      await page.getByRole("heading", { name: /^Step 1 of/ }).isVisible(),
      "Home does not go to the first step",
    );
    await page
      .getByRole("button", { name: /^force / })
      .nth(1)
      .focus();
    await press("Enter");
    check(await page.locator(".token.forced").isVisible(), "Enter does not force a token");
    await press("Enter");

    await page.locator("canvas").first().focus();
    await press("ArrowDown", "ArrowRight");
    check(
      await page.getByText(/looks at source .* weight .* energy/).isVisible(),
      "arrows do not read a cell",
    );
    return problems;
  });
}

/** Two runs side by side, in one report. */
export async function runsAreCompared({ browser, workshop, runs, pictures }) {
  workshop.s2s("report", ...runs, "--out", "two.html");
  const url = pathToFileURL(workshop.path("two.html")).href;
  return browser.visit(url, {}, async (page) => {
    const problems = [];
    await page.getByLabel("Run").first().selectOption({ index: 1 });
    for (const view of VIEWS) {
      await show(page, view);
      await page.screenshot({ path: `${pictures}/two-${view}.png`, fullPage: true });
      problems.push(...(await violations(page)), ...(await overflow(page)));
    }
    const keys = await page.locator("td:first-child").allTextContents();
    if (!keys.includes("model.attention.kind")) problems.push("the configurations' difference is not shown");
    await show(page, "Training");
    for (const run of runs) {
      if (!(await page.getByText(`${run} validation`).first().isVisible()))
        problems.push(`no curve of ${run}`);
    }
    return problems;
  });
}

/** A run is watched while it trains, and the page stays when its folder is gone. */
export async function trainingIsWatched({ browser, workshop }) {
  const name = "live";
  rmSync(workshop.path(name), { recursive: true, force: true });
  const sets = [
    "data.vocab=11",
    "data.max_len=8",
    "train.epochs=0",
    "train.max_steps=1000000",
    "train.eval_every=40",
    "train.schedule.kind=constant",
  ];
  const training = workshop.start(["train", "--run-dir", name, ...sets.flatMap((set) => ["--set", set])]);
  try {
    await until(() => readFileSync(workshop.path(name, "attention.jsonl"), "utf8").split("\n").length > 2);
    let problems = [];
    await withPlayground(workshop, [name], async (url) => {
      problems = await browser.visit(url, {}, async (page) => {
        await page.getByLabel("Source sequence").fill("1 2 3");
        await show(page, "Training");
        const step = () => page.getByLabel("Evaluation", { exact: true }).getAttribute("aria-valuetext");
        const before = await step();
        await until(async () => (await step()) !== before);
        rmSync(workshop.path(name), { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
        const notice = page.getByRole("alert");
        await until(() => notice.isVisible());
        const text = await notice.textContent();
        return text.includes("does not exist") ? [] : [`the notice of a run that is gone: ${text}`];
      });
    });
    return problems;
  } finally {
    training.kill("SIGKILL");
  }
}

/** Runs that are damaged, hostile or without what a view shows: the page says so and works. */
export async function oddRunsAreShown({ browser, workshop, run }) {
  const problems = [];
  for (const [name, spoil] of Object.entries(ODD)) {
    const folder = workshop.path(`odd-${name}`);
    rmSync(folder, { recursive: true, force: true });
    cpSync(workshop.path(run), folder, { recursive: true });
    spoil(folder);
    try {
      workshop.s2s("report", `odd-${name}`);
    } catch (error) {
      problems.push(`${name}: s2s report failed with ${error.status}`);
      continue;
    }
    const url = pathToFileURL(`${folder}/report.html`).href;
    const found = await browser.visit(url, {}, async (page) => {
      const inside = [];
      for (const view of VIEWS) {
        await show(page, view);
        inside.push(...(await overflow(page)), ...(await violations(page)));
      }
      if (await page.evaluate(() => Boolean(globalThis.hacked))) inside.push("text of the run was executed");
      return inside;
    });
    problems.push(...found.map((problem) => `${name}: ${problem}`));
  }
  return problems;
}

const HOSTILE = "</script><img src=x onerror=hacked=1><script>hacked=1</script>]]>\u202e\u001b[31m";

const ODD = {
  "without-records": (folder) => {
    for (const file of [
      "metrics.jsonl",
      "attention.jsonl",
      "wrong.jsonl",
      "samples.jsonl",
      "failures.json",
      "run.json",
      "environment.json",
    ]) {
      rmSync(`${folder}/${file}`);
    }
  },
  "without-checkpoints": (folder) => rmSync(`${folder}/checkpoints`, { recursive: true }),
  "one-evaluation": (folder) => {
    for (const file of ["metrics.jsonl", "attention.jsonl", "wrong.jsonl"]) keepLines(`${folder}/${file}`, 1);
  },
  nan: (folder) => appendFileSync(`${folder}/metrics.jsonl`, '{"step": NaN}\n'),
  torn: (folder) => appendFileSync(`${folder}/metrics.jsonl`, '{"step": 1'),
  "damaged-json": (folder) => writeFileSync(`${folder}/failures.json`, '{"step": 1, "by_len'),
  "other-version": (folder) => {
    const record = JSON.parse(readFileSync(`${folder}/run.json`, "utf8"));
    writeFileSync(`${folder}/run.json`, JSON.stringify({ ...record, unheard: 1 }));
  },
  hostile: (folder) => {
    const file = `${folder}/samples.jsonl`;
    const sample = JSON.parse(readFileSync(file, "utf8").split("\n")[0]);
    const texts = {
      source: [HOSTILE, HOSTILE],
      target: [HOSTILE],
      prediction: [HOSTILE, "</s>"],
      weights: [
        [0.5, 0.5],
        [0.5, 0.5],
      ],
    };
    writeFileSync(file, `${JSON.stringify({ ...sample, ...texts })}\n`);
    const wrong = { source: [HOSTILE], target: [HOSTILE], prediction: ["</s>"] };
    const failures = JSON.parse(readFileSync(`${folder}/failures.json`, "utf8"));
    const confusions = [{ expected: HOSTILE, predicted: HOSTILE, count: 3 }];
    writeFileSync(`${folder}/failures.json`, JSON.stringify({ ...failures, confusions, wrong: [wrong] }));
    appendFileSync(`${folder}/wrong.jsonl`, `${JSON.stringify({ step: 1e6, outputs: [wrong] })}\n`);
  },
  long: (folder) => {
    const file = `${folder}/samples.jsonl`;
    const sample = JSON.parse(readFileSync(file, "utf8").split("\n")[0]);
    const tokens = Array.from({ length: 100_000 }, () => "7");
    const long = { ...sample, source: tokens, target: tokens, prediction: tokens, weights: [] };
    writeFileSync(file, `${JSON.stringify(long)}\n`);
  },
};

function keepLines(file, count) {
  writeFileSync(file, `${readFileSync(file, "utf8").split("\n").slice(0, count).join("\n")}\n`);
}

/** Starts a playground, and stops it after `use`. */
export async function withPlayground(workshop, runs, use) {
  let url;
  const server = workshop.start(["playground", ...runs], (line) => (url ??= line));
  try {
    await until(() => url);
    await use(url);
  } finally {
    server.kill("SIGINT");
  }
}

/** Waits until a condition holds; errors count as not yet. */
async function until(condition) {
  for (let i = 0; i < 150; i++) {
    try {
      if (await condition()) return;
    } catch {
      // not yet
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`waited in vain for ${condition}`);
}

export function chromiumVersion(executable) {
  return execFileSync(executable, ["--version"]).toString().trim();
}
