// Play, step and scrub through numbered moments.

import { button, field, h } from "./dom.mjs";

const DELAY_MS = 650;

export class Player {
  /** `onMove` gets the new position, `describe` names a position. */
  constructor(label, describe, onMove) {
    Object.assign(this, { describe, onMove, position: 0, last: 0 });
    this.slider = h("input", {
      type: "range",
      min: 0,
      oninput: () => this.go(Number(this.slider.value)),
    });
    this.playButton = button("▶ Play", { class: "play" }, () => this.toggle());
    this.element = h(
      "div",
      { class: "player" },
      button("«", { "aria-label": "First" }, () => this.go(0)),
      button("‹", { "aria-label": "Back" }, () => this.go(this.position - 1)),
      this.playButton,
      button("›", { "aria-label": "Forward" }, () => this.go(this.position + 1)),
      button("»", { "aria-label": "Last" }, () => this.go(this.last)),
      field(label, this.slider, { class: "field wide" }),
    );
  }

  /** Sets the number of positions and the current one, without a call of `onMove`. */
  reset(count, position) {
    this.last = Math.max(count - 1, 0);
    this.position = Math.min(Math.max(position, 0), this.last);
    this.show();
  }

  go(position) {
    this.stop();
    this.move(position);
  }

  move(position) {
    this.position = Math.min(Math.max(position, 0), this.last);
    this.show();
    this.onMove(this.position);
  }

  show() {
    this.slider.max = this.last;
    this.slider.value = this.position;
    this.slider.setAttribute("aria-valuetext", this.describe(this.position));
  }

  toggle() {
    if (this.timer) return this.stop();
    this.playButton.textContent = "⏸ Pause";
    if (this.position === this.last) this.move(0);
    this.timer = setInterval(() => {
      if (this.position < this.last && this.element.isConnected) this.move(this.position + 1);
      else this.stop();
    }, DELAY_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.playButton.textContent = "▶ Play";
  }
}
