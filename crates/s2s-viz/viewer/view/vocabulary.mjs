// Tokens as text and back: 0 is padding, 1..V-1 are symbols, V begins and V+1 ends a sequence.

export class Vocabulary {
  constructor({ words, config }) {
    this.words = words;
    this.byCharacter = config.data?.tokens === "chars";
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
    const parts = this.byCharacter ? Array.from(line.trim()) : line.split(/\s+/).filter(Boolean);
    if (!parts.length) throw new Error("type at least one token");
    return parts.map((part) => this.token(part));
  }

  token(text) {
    if (this.isText) return this.symbols.get(text) ?? 1;
    const token = /^\d+$/.test(text) ? Number(text) : NaN;
    if (token >= 1 && token <= this.lastSymbol) return token;
    throw new Error(`"${text}" is not a symbol: type numbers from 1 to ${this.lastSymbol}`);
  }

  join(tokens) {
    return tokens.map((token) => this.text(token)).join(this.byCharacter ? "" : " ");
  }
}
