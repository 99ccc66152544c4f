// Tokens as text and back: 0 is padding, 1..V-1 are symbols, V begins and V+1 ends a sequence.

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/** The text of a byte: the character if it is printable ASCII, else <0xNN>. */
function byteText(byte) {
  if (byte >= 0x20 && byte <= 0x7e) return String.fromCharCode(byte);
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

function byteOf(text) {
  const hex = /^<0x([0-9A-F]{2})>$/.exec(text);
  return hex ? [parseInt(hex[1], 16)] : Array.from(new TextEncoder().encode(text));
}

/** How a line becomes tokens and back, by the value of data.tokens. */
const tokenizations = {
  words: {
    name: "Words",
    between: " ",
    split: (line) => line.split(/\s+/).filter(Boolean),
    join: (texts) => texts.join(" "),
  },
  chars: {
    name: "Characters",
    between: "",
    split: (line) => Array.from(graphemes.segment(line), ({ segment }) => segment),
    join: (texts) => texts.join(""),
  },
  bytes: {
    name: "Bytes",
    between: "",
    split: (line) => Array.from(new TextEncoder().encode(line), byteText),
    join: (texts) => new TextDecoder().decode(new Uint8Array(texts.flatMap(byteOf))),
  },
};

const numbers = { ...tokenizations.words, split: (line) => line.split(/[\s,]+/).filter(Boolean) };

export class Vocabulary {
  constructor({ words, config }) {
    this.words = words;
    this.tokenization = words.length ? (tokenizations[config.data.tokens] ?? tokenizations.words) : numbers;
    const size = words.length ? words.length + 1 : config.data.vocab; // V
    this.bos = size;
    this.eos = size + 1;
    this.symbols = new Map(words.map((word, i) => [word, i + 1]));
  }

  get isText() {
    return this.words.length > 0;
  }

  get lastSymbol() {
    return this.bos - 1;
  }

  text(token) {
    if (token === 0) return "<pad>";
    if (token === this.bos) return "<s>";
    if (token === this.eos) return "</s>";
    return this.isText ? (this.words[token - 1] ?? "<unk>") : String(token);
  }

  /** The tokens of a line. Throws an error that says what is wrong. */
  parse(line) {
    const parts = this.tokenization.split(line);
    if (!parts.length) throw new Error("type at least one token");
    return parts.map((part) => this.token(part));
  }

  token(text) {
    if (this.isText) return this.symbols.get(text) ?? 1;
    const token = /^\d+$/.test(text) ? Number(text) : NaN;
    if (token >= 1 && token <= this.lastSymbol) return token;
    throw new Error(`"${text}" is not a symbol: type numbers from 1 to ${this.lastSymbol}`);
  }

  /** The only token of a line. */
  parseOne(line) {
    const tokens = this.parse(line);
    if (tokens.length > 1) throw new Error("type one token");
    return tokens[0];
  }

  join(tokens) {
    return this.tokenization.join(tokens.map((token) => this.text(token)));
  }
}
