// A heatmap of attention: rows are output tokens, columns are source tokens.

import { h, onResize } from "./dom.mjs";
import { color, onTheme, ramp } from "./theme.mjs";

const LARGEST_CELL = 36;
const LARGEST_HEIGHT = 520;
/** Cells at least this wide have labels and gaps. */
const LABELED = 11;

export class Heatmap {
  /** `onCell` gets the row and the column under the pointer or the keyboard's cell, or null. */
  constructor(label, onCell = () => {}) {
    this.onCell = onCell;
    this.map = { columns: [], rows: [], weights: [] };
    this.canvas = h("canvas", {
      class: "heatmap",
      tabindex: "0",
      role: "application",
      "aria-label": `${label}. The arrow keys move from cell to cell.`,
      onpointermove: (event) => this.select(this.cellAt(event)),
      onpointerdown: (event) => this.select(this.cellAt(event)),
      onpointerleave: () => this.select(null),
      onkeydown: (event) => this.move(event),
    });
    this.element = h("div", { class: "heatmap-frame" }, this.canvas);
    onResize(this.element, (width) => {
      this.width = width;
      this.draw();
    });
    onTheme(this.element, () => this.draw());
  }

  /**
   * Shows `weights`, one row per output token. `columns` and `rows` are { text, isMuted, isWrong };
   * `active` is the row of the current step, and rows after it are pale.
   */
  update({ columns, rows, weights, active = rows.length - 1 }) {
    this.map = { columns, rows, weights };
    this.active = active;
    if (this.cell && (this.cell.row >= rows.length || this.cell.column >= columns.length)) {
      this.cell = null;
    }
    this.draw();
  }

  select(cell) {
    this.cell = cell;
    this.draw();
    this.onCell(cell);
  }

  move(event) {
    const [down, right] =
      { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [];
    if (down === undefined || !this.map.weights.length) return;
    event.preventDefault();
    const { row, column } = this.cell ?? { row: this.active - down, column: -right };
    this.select({
      row: clamp(row + down, this.map.rows.length - 1),
      column: clamp(column + right, this.map.columns.length - 1),
    });
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - this.left) / this.cellWidth);
    const row = Math.floor((event.clientY - box.top - this.top) / this.cellHeight);
    const isInside =
      row >= 0 && row < this.map.rows.length && column >= 0 && column < this.map.columns.length;
    return isInside ? { row, column } : null;
  }

  draw() {
    if (!this.width) return;
    const { columns, rows } = this.map;
    const font = `13px ${color("mono")}`;
    const context = this.canvas.getContext("2d");
    context.font = font;
    const widest = (tokens) =>
      tokens.reduce((most, { text }) => Math.max(most, context.measureText(clip(text)).width), 0);
    this.left = rows.length ? widest(rows) + 10 : 0;
    const room = Math.max(this.width - this.left - 2, 40);
    this.cellWidth = Math.min(LARGEST_CELL, room / Math.max(columns.length, 1));
    const isLabeled = this.cellWidth >= LABELED;
    const isUpright = isLabeled && widest(columns) <= this.cellWidth - 2;
    this.top = !isLabeled ? 2 : isUpright ? 22 : widest(columns) + 10;
    this.cellHeight = Math.min(this.cellWidth, LARGEST_HEIGHT / Math.max(rows.length, 1));
    const width = this.left + this.cellWidth * columns.length + 2;
    const height = this.top + this.cellHeight * rows.length + 2;
    this.resize(width, height);
    context.clearRect(0, 0, width, height);
    context.font = font;
    if (isLabeled) this.drawColumns(context, isUpright);
    if (this.cellHeight >= LABELED) this.drawRows(context);
    this.drawCells(context);
    this.drawCursor(context);
  }

  resize(width, height) {
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.ceil(width * scale);
    this.canvas.height = Math.ceil(height * scale);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
  }

  drawColumns(context, isUpright) {
    this.map.columns.forEach((column, s) => {
      const x = this.left + (s + 0.5) * this.cellWidth;
      context.fillStyle = color(column.isMuted ? "faint" : this.cell?.column === s ? "accent" : "ink");
      context.save();
      context.translate(x, this.top - 6);
      if (isUpright) {
        context.textAlign = "center";
      } else {
        context.rotate(-Math.PI / 2);
        context.translate(0, 4);
      }
      context.fillText(clip(column.text), 0, 0);
      context.restore();
    });
  }

  drawRows(context) {
    context.textAlign = "right";
    context.textBaseline = "middle";
    this.map.rows.forEach((row, t) => {
      context.globalAlpha = t > this.active ? 0.4 : 1;
      context.fillStyle = color(row.isWrong ? "wrong" : "ink");
      context.fillText(clip(row.text), this.left - 6, this.top + (t + 0.5) * this.cellHeight + 1);
    });
    context.globalAlpha = 1;
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
  }

  drawCells(context) {
    const shade = ramp();
    const gap = Math.min(this.cellWidth, this.cellHeight) >= LABELED ? 1 : 0;
    this.map.weights.forEach((weights, t) => {
      context.globalAlpha = t > this.active ? 0.25 : 1;
      for (let s = 0; s < weights.length; s++) {
        context.fillStyle = `rgb(${shade(weights[s]).join()})`;
        const [x, y] = [this.left + s * this.cellWidth, this.top + t * this.cellHeight];
        context.fillRect(x, y, this.cellWidth - gap, this.cellHeight - gap);
      }
    });
    context.globalAlpha = 1;
  }

  drawCursor(context) {
    const frame = (x, y, width, height, name, line) => {
      context.strokeStyle = color(name);
      context.lineWidth = line;
      context.strokeRect(x - 0.5, y - 0.5, width, height);
    };
    const width = this.cellWidth * this.map.columns.length;
    if (this.map.weights[this.active] && this.active < this.map.rows.length - 1) {
      const y = this.top + this.active * this.cellHeight;
      frame(this.left, y, width, this.cellHeight, "accent", 1.5);
    }
    if (this.cell) {
      const x = this.left + this.cell.column * this.cellWidth;
      const y = this.top + this.cell.row * this.cellHeight;
      frame(x, y, this.cellWidth, this.cellHeight, "ink", 2);
    }
  }
}

function clamp(index, last) {
  return Math.min(Math.max(index, 0), last);
}

function clip(text) {
  return text.length > 10 ? `${text.slice(0, 9)}…` : text;
}
