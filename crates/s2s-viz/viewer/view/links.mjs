// Attention as lines from each output token to the source.

import { h, onResize, svg } from "./dom.mjs";

/** Smaller weights have no line. */
const SMALLEST = 0.03;
const LINKS_HEIGHT = 240;

export class Links {
  constructor() {
    this.element = h("div", { class: "links" });
    this.map = { columns: [], rows: [], weights: [], active: 0 };
    onResize(this.element, (width) => {
      this.width = width;
      this.draw();
    });
  }

  /** As the same method of a heatmap. */
  update(map) {
    this.map = map;
    this.draw();
  }

  draw() {
    if (!this.width) return;
    const { columns, rows, weights, active } = this.map;
    const spacing = Math.min(46, (this.width - 24) / Math.max(columns.length, rows.length, 1));
    const left = (n) => (this.width - spacing * (n - 1)) / 2;
    const x = (index, n) => left(n) + index * spacing;
    const lines = weights.slice(0, active + 1).flatMap((row, t) =>
      Array.from(row, (weight, s) => {
        if (weight < SMALLEST) return null;
        const [from, to] = [x(t, rows.length), x(s, columns.length)];
        return svg("path", {
          d: `M${from} ${LINKS_HEIGHT - 30}C${from} ${LINKS_HEIGHT / 2} ${to} ${LINKS_HEIGHT / 2} ${to} 30`,
          class: t === active ? "link active" : "link",
          "stroke-width": (0.75 + 3.5 * weight).toFixed(2),
          "stroke-opacity": (t === active ? 0.25 + 0.75 * weight : 0.12 + 0.4 * weight).toFixed(3),
        });
      }),
    );
    const labels = (tokens, y, isOutput) =>
      spacing < 13
        ? []
        : tokens.map(({ text, isMuted, isWrong }, i) => {
            const isPale = isMuted || (isOutput && i > active);
            const state = [isWrong && "wrong", isPale && "pale", isOutput && i === active && "active"];
            const most = Math.max(1, Math.floor((spacing + 8) / 8));
            return svg(
              "text",
              { x: x(i, tokens.length), y, class: state.filter(Boolean).join(" ") },
              text.length > most ? `${text.slice(0, most)}…` : text,
            );
          });
    this.element.replaceChildren(
      svg(
        "svg",
        {
          width: this.width,
          height: LINKS_HEIGHT,
          role: "img",
          "aria-label": "Attention as lines from output tokens (below) to source tokens (above)",
        },
        lines,
        labels(columns, 20, false),
        labels(rows, LINKS_HEIGHT - 10, true),
      ),
    );
  }
}
