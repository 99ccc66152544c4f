// Building blocks of the page. Text always becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. A property starting with `on` is a listener, `style` is an object, the rest are attributes. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const key in value) element.style.setProperty(key, value[key]);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export function button(label, properties, onclick) {
  return h("button", { type: "button", ...properties, onclick }, label);
}

export function card(title, ...children) {
  return h("section", { class: "card" }, title && h("h2", {}, title), ...children);
}

/** Text for screen readers only. */
export function hidden(text) {
  return h("span", { class: "hidden" }, text);
}

let count = 0;

/** An id that no other element has. */
export function freshId() {
  return `id${++count}`;
}

/** A control with its label. */
export function field(label, control, properties = {}) {
  control.id ||= freshId();
  return h("div", { class: "field", ...properties }, h("label", { for: control.id }, label), control);
}

/** A table: `columns` are titles, cells are strings or elements; `numeric` are right-aligned columns. */
export function table(caption, columns, rows, { numeric = [], classOf = () => null } = {}) {
  const align = (i) => (numeric.includes(i) ? "number" : null);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "hidden" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((name, i) => h("th", { scope: "col", class: align(i) }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row, r) =>
          h(
            "tr",
            { class: classOf(r) },
            row.map((cell, i) => h("td", { class: align(i) }, cell)),
          ),
        ),
      ),
    ),
  );
}

/** Calls `draw` when the element has a size, and again when the size changes. */
export function onResize(element, draw) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now !== width && now > 0) draw((width = now));
  }).observe(element);
}
