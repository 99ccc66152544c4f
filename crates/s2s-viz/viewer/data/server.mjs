// The local server as the source of the data: it runs the model, and follows runs that train.

const STOPPED = 'The server does not answer. Start "s2s playground" again and open its new address.';

export class ServerSource {
  constructor({ runs, token }) {
    this.runs = runs;
    this.token = token;
  }

  obstacle(run) {
    return run.has_model ? null : "This run has no checkpoint yet.";
  }

  async decode(run, _tokens, source, changes) {
    const body = JSON.stringify({ run: this.runs.indexOf(run), source, ...changes });
    let response;
    try {
      response = await fetch("/decode", { method: "POST", headers: this.headers(), body });
    } catch {
      throw new Error(STOPPED);
    }
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  headers() {
    return { "Content-Type": "application/json", "X-Page-Token": this.token };
  }

  /** Calls `onRun(index)` after a run has changed, and `onTrouble(text)`; an empty text: no trouble. */
  subscribe(onRun, onTrouble) {
    const events = new EventSource(`/events?token=${this.token}`);
    events.addEventListener("run", ({ data }) => {
      const { index, run, gone } = JSON.parse(data);
      Object.assign(this.runs[index], run);
      onTrouble(gone ? `${run.name}: ${gone}. The page shows what was read before.` : "");
      onRun(index);
    });
    events.addEventListener("open", () => onTrouble(""));
    events.addEventListener("error", () => onTrouble(STOPPED));
  }
}
