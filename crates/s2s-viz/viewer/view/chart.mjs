// A line chart with a cursor.

import { h, onResize, svg } from "./dom.mjs";
import { integer, percent, short } from "./format.mjs";

const CHART_HEIGHT = 220;
const MARGIN = { top: 10, right: 14, bottom: 34, left: 52 };

/**
 * `series` are { name, color, points: [[x, y, low, high]], isDashed }; low and high are optional. The
 * scale of y is "linear", "log" or "share".
 */
export class Chart {
  constructor({ title, subtitle, xLabel, scale = "linear", series, onPick }) {
    Object.assign(this, { title, xLabel, scale, onPick });
    this.readout = h("p", { class: "readout", "aria-live": "off" });
    this.legend = h("ul", { class: "legend" });
    this.plot = h("div", { class: "plot" });
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("strong", {}, title), subtitle && h("span", { class: "muted" }, ` ${subtitle}`)),
      this.legend,
      this.plot,
      this.readout,
    );
    this.update(series);
    onResize(this.plot, (width) => {
      this.width = width;
      this.draw();
    });
  }

  update(series) {
    const isShown = ([x, y]) => Number.isFinite(x) && Number.isFinite(y) && (this.scale !== "log" || y > 0);
    this.series = series.map((line) => ({ ...line, points: line.points.filter(isShown) }));
    this.legend.replaceChildren(
      ...this.series.map(({ name, color, isDashed }) =>
        h(
          "li",
          {},
          h("span", { class: isDashed ? "swatch dashed" : "swatch", style: { "--c": color } }),
          name,
        ),
      ),
    );
    this.draw();
  }

  /** Moves the cursor to `x`, or removes it. */
  moveTo(x) {
    this.cursor = x;
    this.draw();
  }

  draw() {
    if (!this.width) return;
    const points = this.series.flatMap((line) => line.points);
    if (!points.length) {
      this.plot.replaceChildren(h("p", { class: "muted" }, "No data."));
      return;
    }
    const xs = points.map(([x]) => x);
    this.xRange = padded(Math.min(...xs), Math.max(...xs), 0);
    this.yRange = this.yLimits(points);
    const parts = [this.axes(), this.series.map((line) => this.line(line)), this.cursorMarks()];
    this.plot.replaceChildren(
      svg(
        "svg",
        {
          width: this.width,
          height: CHART_HEIGHT,
          role: "img",
          "aria-label": this.summary(),
          onpointermove: (event) => this.hover(event),
          onpointerleave: () => this.read(this.cursor),
          onclick: (event) => this.onPick?.(this.nearest(this.xAt(event))),
        },
        parts,
      ),
    );
    this.read(this.cursor);
  }

  yLimits(points) {
    if (this.scale === "share") return [0, 1];
    const ys = points.flatMap(([, y, low, high]) => [y, low ?? y, high ?? y]);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    if (this.scale === "log") {
      return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.0001))];
    }
    return padded(Math.min(low, 0), high, 0.05);
  }

  x(value) {
    const [low, high] = this.xRange;
    return MARGIN.left + ((value - low) / (high - low)) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(value) {
    const scaled = this.scale === "log" ? Math.log : (number) => number;
    const [low, high] = this.yRange.map(scaled);
    const share = (scaled(value) - low) / (high - low);
    return CHART_HEIGHT - MARGIN.bottom - share * (CHART_HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  axes() {
    const format = this.scale === "share" ? (y) => percent(y, 0) : short;
    const right = this.width - MARGIN.right;
    const rows = ticks(this.yRange, this.scale).map((y) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: this.y(y), y2: this.y(y) }),
      svg("text", { class: "tick", x: MARGIN.left - 8, y: this.y(y) + 4, "text-anchor": "end" }, format(y)),
    ]);
    const columns = ticks(this.xRange, "linear", this.width / 90).map((x) =>
      svg("text", { class: "tick", x: this.x(x), y: CHART_HEIGHT - 18, "text-anchor": "middle" }, short(x)),
    );
    const label = svg(
      "text",
      { class: "tick", x: right, y: CHART_HEIGHT - 3, "text-anchor": "end" },
      this.xLabel,
    );
    return [rows, columns, label];
  }

  line({ points, color, isDashed }) {
    const at = ([x, y]) => `${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`;
    const bars = points
      .filter((point) => point.length > 2)
      .map(([x, , low, high]) =>
        svg("line", {
          class: "bar",
          x1: this.x(x),
          x2: this.x(x),
          y1: this.y(low),
          y2: this.y(high),
          style: { stroke: color },
        }),
      );
    const path = svg("path", {
      class: isDashed ? "line dashed" : "line",
      d: `M${points.map(at).join("L")}`,
      style: { stroke: color },
    });
    const isSparse = points.length <= 40;
    const dots = points.map(([x, y]) =>
      isSparse ? svg("circle", { cx: this.x(x), cy: this.y(y), r: 2.5, style: { fill: color } }) : null,
    );
    return points.length ? [bars, path, dots] : [];
  }

  cursorMarks() {
    if (this.cursor === undefined) return [];
    const x = this.x(this.cursor);
    return svg("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: CHART_HEIGHT - MARGIN.bottom });
  }

  xAt(event) {
    const box = this.plot.getBoundingClientRect();
    const [low, high] = this.xRange;
    const share = (event.clientX - box.left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    return low + share * (high - low);
  }

  /** The x of a point that is nearest to `x`. */
  nearest(x) {
    const xs = this.series.flatMap(({ points }) => points.map(([x]) => x));
    return xs.reduce((best, other) => (Math.abs(other - x) < Math.abs(best - x) ? other : best), xs[0]);
  }

  hover(event) {
    this.read(this.nearest(this.xAt(event)));
  }

  /** Shows the values at `x`, or at the end. */
  read(x) {
    const values = this.series.map(({ name, points }) => {
      const point = x === undefined ? points.at(-1) : points.find(([other]) => other === x);
      return point ? `${name} ${this.format(point[1])}` : null;
    });
    const place = x === undefined ? "last" : `${this.xLabel} ${integer(x)}`;
    this.readout.textContent = `${place}: ${values.filter(Boolean).join(" · ")}`;
  }

  format(y) {
    return this.scale === "share" ? percent(y, 2) : String(Number(y.toPrecision(3)));
  }

  summary() {
    const ends = this.series.map(({ name, points }) =>
      points.length ? `${name} from ${this.format(points[0][1])} to ${this.format(points.at(-1)[1])}` : null,
    );
    return `${this.title} by ${this.xLabel}: ${ends.filter(Boolean).join("; ")}`;
  }
}

function padded(low, high, share) {
  const room = (high - low) * share;
  return high > low ? [low, high + room] : [low - 0.5, high + 0.5];
}

/** Round numbers within a range. */
function ticks([low, high], scale, most = 5) {
  if (scale === "log") {
    const [from, to] = [low, high].map((y) => Math.round(Math.log10(y)));
    const every = Math.ceil((to - from + 1) / 6);
    return Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i)).filter(
      (_, i) => i % every === 0,
    );
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const first = Math.ceil(low / unit);
  const n = Math.floor(high / unit + 1e-9) - first + 1;
  return Array.from({ length: n }, (_, i) => Number(((first + i) * unit).toPrecision(12)));
}
