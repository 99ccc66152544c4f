// All checks of the viewer: node main.mjs S2S VIEWER CHROMIUM FOLDER SEQUENCES

import { mkdirSync } from "node:fs";

import * as checks from "./checks.mjs";
import { loadViewer } from "./forward.mjs";
import { Browser } from "./pages.mjs";
import { Workshop } from "./runs.mjs";

const [binary, viewerFolder, chromium, folder, sequences] = process.argv.slice(2);
const log = (text) => console.error(text);
const pictures = `${folder}/pictures`;
mkdirSync(pictures, { recursive: true });

const workshop = new Workshop(binary, `${folder}/runs`);
const viewer = await loadViewer(viewerFolder);
let failures = 0;

async function check(name, problems) {
  const found = await problems;
  log(`${found.length ? "FAILED" : "ok    "} ${name}`);
  for (const problem of found) log(`  ${problem}`);
  failures += found.length > 0;
}

log(checks.chromiumVersion(chromium));
await check(
  "the page's model gives the output of s2s predict",
  checks.modelEqualsPredict({ workshop, viewer, sequences: Number(sequences), log }),
);
await check("text is decoded", checks.textIsDecoded({ workshop, viewer }));
await check(
  "the page's model gives the output of the playground",
  checks.modelEqualsServer({ workshop, viewer }),
);

const [run, other] = ["gru-10-location-relative", "gru-0-additive"];
const browser = await Browser.open(chromium, pictures);
const report = new URL(`file://${workshop.path(run, "report.html")}`).href;
for (const name of [run, "gru-12-none"]) {
  await check(
    `the report of ${name} is sound`,
    checks.reportIsSound({ browser, workshop, run: name, pictures }),
  );
}
await check("the page of an experiment is sound", checks.experimentIsSound({ browser, workshop, pictures }));
await check("a report is deterministic", checks.reportIsDeterministic({ workshop, run }));
await check("a report decodes what is typed", checks.typingDecodes(report, { browser, workshop, run }));
await check(
  "the keyboard controls everything",
  checks.keyboardControlsEverything({ browser, workshop, run }),
);
await check(
  "two runs are compared",
  checks.runsAreCompared({ browser, workshop, runs: [run, other], pictures }),
);
await check("odd runs are shown", checks.oddRunsAreShown({ browser, workshop, run }));
await checks.withPlayground(workshop, [run], (url) =>
  check("a playground decodes what is typed", checks.typingDecodes(url, { browser, workshop, run })),
);
await check("a run is watched while it trains", checks.trainingIsWatched({ browser, workshop }));
await browser.close();

log(failures ? `${failures} checks failed` : `all checks passed; pictures: ${pictures}`);
process.exitCode = failures ? 1 : 0;
