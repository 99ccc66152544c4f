// Light and dark, and the colors that drawings use.

const THEMES = ["auto", "light", "dark"];
const listeners = new Set();

/** Calls `redraw` when the colors change, as long as `element` is in the page. */
export function onTheme(element, redraw) {
  const listener = () => (element.isConnected ? redraw() : listeners.delete(listener));
  listeners.add(listener);
}

export function startTheme(control) {
  let theme = "auto";
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    control.textContent = `Theme: ${theme}`;
    for (const listener of listeners) listener();
  };
  control.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

/** The value of a custom property. */
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** A function from [0, 1] to the colors of heatmaps, as [red, green, blue]. */
export function ramp() {
  const stops = [0, 1, 2, 3].map((i) => {
    const hex = color(`ramp-${i}`);
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  });
  return (share) => {
    const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const i = Math.min(Math.floor(at), stops.length - 2);
    return stops[i].map((from, c) => Math.round(from + (stops[i + 1][c] - from) * (at - i)));
  };
}

/** The colors of runs, in order. */
export function runColor(index) {
  return `var(--run-${index % 6})`;
}
