// The cells of an experiment: their values, and which of them are shown in which order.

import { decimal, percent, readable } from "../view/format.mjs";

const OPERATORS = ["!=", "=", "<", ">"];

export class Study {
  constructor(data) {
    Object.assign(this, data);
    this.text = "";
    this.sortKey = "cell";
    this.isDescending = false;
    this.listeners = [];
    this.select();
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  filter(text) {
    this.text = text;
    this.select();
  }

  sort(key) {
    this.isDescending = this.sortKey === key && !this.isDescending;
    this.sortKey = key;
    this.select();
  }

  /** Finds the cells to show. */
  select() {
    const terms = this.text.split(/\s+/).filter(Boolean).map(parseTerm);
    const all = this.cells.filter((cell) => terms.every((term) => this.meets(cell, term)));
    const keyed = all.map((cell, i) => [this.sortKey === "cell" ? i : this.value(cell, this.sortKey), cell]);
    const sign = this.isDescending ? -1 : 1;
    keyed.sort(([a], [b]) => compareValues(a, b, sign));
    this.shown = keyed.map(([, cell]) => cell);
    for (const listener of this.listeners ?? []) listener();
  }

  /** The value of an axis or a metric. */
  value(cell, key) {
    const axis = this.axes.indexOf(key);
    if (axis >= 0) return cell.settings[axis];
    const metric = this.metrics.findIndex((other) => other.key === key);
    return metric >= 0 ? cell.means[metric] : undefined;
  }

  meets(cell, { key, operator, wanted }) {
    if (!operator) return cell.name.includes(key);
    const found = this.value(cell, key);
    if (operator === "<") return isNumber(found) && found < Number(wanted);
    if (operator === ">") return isNumber(found) && found > Number(wanted);
    const isEqual = isNumber(found) ? found === Number(wanted) : settingText(found) === wanted;
    return isEqual === (operator === "=");
  }

  /** The keys of a filter that no cell has. */
  unknown() {
    const known = [...this.axes, ...this.metrics.map(({ key }) => key)];
    const terms = this.text.split(/\s+/).filter(Boolean).map(parseTerm);
    return terms.filter(({ key, operator }) => operator && !known.includes(key)).map(({ key }) => key);
  }

  /** The different values of an axis, in order. */
  valuesOf(key) {
    const all = new Map(this.shown.map((cell) => [settingText(this.value(cell, key)), this.value(cell, key)]));
    return [...all.values()].sort((a, b) => compareValues(a, b, 1));
  }
}

/** `model.hidden=32`, `exact_match>0.9`, or a part of a name. */
function parseTerm(text) {
  for (const operator of OPERATORS) {
    const at = text.indexOf(operator);
    if (at > 0) return { key: text.slice(0, at), operator, wanted: text.slice(at + operator.length) };
  }
  return { key: text };
}

function isNumber(value) {
  return typeof value === "number";
}

/** Numbers by size, text by letters, absent values last. */
function compareValues(a, b, sign) {
  const [noA, noB] = [a ?? null, b ?? null].map((value) => value === null);
  if (noA || noB) return noA - noB;
  if (isNumber(a) && isNumber(b)) return sign * (a - b);
  const [x, y] = [settingText(a), settingText(b)];
  return sign * ((x > y) - (x < y));
}

/** A setting as text. */
export function settingText(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? readable(value) : JSON.stringify(value);
}

/** The value of a metric as text. */
export function metricText(metric, value) {
  if (value === null || value === undefined) return "–";
  if (metric.is_share) return percent(value, 2);
  return Math.abs(value) >= 1e-4 || value === 0 ? decimal(value, value >= 100 ? 1 : 4) : value.toExponential(2);
}

/** A function from the values of a metric to [0, 1], and the ends of its range. */
export function rangeOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) if (isNumber(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return { low, high, share: (value) => (high > low ? (value - low) / (high - low) : 0.5) };
}
