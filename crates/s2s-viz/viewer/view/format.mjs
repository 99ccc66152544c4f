// Numbers and tokens as text.

export function percent(share, digits = 1) {
  if (!Number.isFinite(share)) return "–";
  const least = 10 ** -digits;
  return share > 0 && 100 * share < least / 2 ? `< ${least} %` : `${(100 * share).toFixed(digits)} %`;
}

export function decimal(number, digits = 4) {
  return Number.isFinite(number) ? number.toFixed(digits) : "–";
}

export function integer(number) {
  return Number.isFinite(number) ? number.toLocaleString("en-US") : "–";
}

/** A number on an axis. */
export function short(number) {
  if (number !== 0 && Math.abs(number) < 0.001) return number.toExponential(0);
  return Math.abs(number) >= 10_000 ? `${number / 1000}k` : String(Number(number.toPrecision(3)));
}

/** The text of a token in records, with a name for the end. */
export function tokenName(text) {
  return text === "</s>" ? "end" : visible(text);
}

/** A token with characters made visible that would be invisible, or would rearrange the text. */
export function visible(text) {
  const shown = Array.from(text, (c) => {
    const code = c.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    if (code === 0x20) return "␣";
    if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Zs}\p{Cs}]/u.test(c)) return `\\u{${code.toString(16)}}`;
    return c;
  });
  return shown.join("") || "∅";
}

/** A name or a title, whose spaces are plain. */
export function readable(text) {
  return visible(text).replaceAll("␣", " ");
}
