// The page: reads its data block, and shows one view at a time.

import { EmbeddedSource } from "./data/embedded.mjs";
import { ServerSource } from "./data/server.mjs";
import { h } from "./view/dom.mjs";
import { DecodeView } from "./view/decode.mjs";
import { FailuresView } from "./view/failures.mjs";
import { visible } from "./view/format.mjs";
import { NumbersView } from "./view/numbers_view.mjs";
import { Tabs } from "./view/tabs.mjs";
import { startTheme } from "./view/theme.mjs";
import { TrainingView } from "./view/training.mjs";

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const source = data.source === "server" ? new ServerSource(data) : new EmbeddedSource(data);
  startTheme(document.getElementById("theme"));
  document.getElementById("runs").textContent = source.runs.map(({ name }) => visible(name)).join(", ");

  const decode = new DecodeView(source);
  const openInDecode = (run, texts) => {
    tabs.show("Decode");
    decode.open(run, texts);
    decode.input.focus();
  };
  const views = {
    Decode: decode,
    Training: new TrainingView(source, openInDecode),
    Failures: new FailuresView(source, openInDecode),
    Numbers: new NumbersView(source),
  };
  const tabs = new Tabs(document.getElementById("tabs"), document.getElementById("main"), views);
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  document.getElementById("main").before(notice);
  source.subscribe(
    (index) => {
      decode.refresh(source.runs[index]);
      for (const name of ["Training", "Failures", "Numbers"]) views[name].refresh();
    },
    (trouble) => {
      notice.hidden = !trouble;
      notice.textContent = trouble;
    },
  );
}

start();
