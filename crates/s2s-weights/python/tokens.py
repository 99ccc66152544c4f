class Tokens:
    """Lines of text to token IDs and back, by config.json and vocab.json."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        self.texts = json.loads((folder / "vocab.json").read_text("utf-8"))  # of each token ID
        tokens = self.config["tokens"]
        self.kind = tokens["kind"]  # "numbers", "words", "chars" or "bytes"
        self.pad, self.bos, self.eos, self.unknown = (tokens[name] for name in ("pad", "bos", "eos", "unknown"))
        self.symbols = {text: i for i, text in enumerate(self.texts) if i not in (self.pad, self.bos, self.eos)}

    def ids(self, line):
        """The token IDs of a line, as the encoder reads them."""
        texts = self.split(line)
        if not texts:
            raise ValueError("no tokens")
        ids = [self.symbol(text) for text in texts]
        return [self.bos, *ids, self.eos] if self.config["source_markers"] else ids

    def line(self, ids):
        """The line with these tokens."""
        texts = [self.texts[i] for i in ids]
        if self.kind == "bytes":
            values = (re.fullmatch("<0x([0-9A-F]{2})>", text) for text in texts)
            parts = (bytes([int(value[1], 16)]) if value else text.encode() for value, text in zip(values, texts))
            return b"".join(parts).decode(errors="replace")
        return ("" if self.kind == "chars" else " ").join(texts)

    def limit(self, n):
        """Maximum number of output tokens, EOS included, for a source of n tokens."""
        limit = self.config["output_limit"]
        numerator, denominator = limit["growth"]
        return max(limit["least"], -(-numerator * n // denominator)) + limit["slack"]

    def split(self, line):
        match self.kind:
            case "numbers":
                return re.findall(f"[^,{SPACES}]+", line)
            case "words":
                return re.findall(f"[^{SPACES}]+", line)
            case "bytes":
                return [chr(b) if 32 <= b < 127 else f"<0x{b:02X}>" for b in line.encode()]
            case _ if line.isascii():
                return list(line)
        try:
            import regex  # characters as readers see them, such as a letter with its accents
        except ImportError:
            raise ValueError("characters beyond ASCII need the package regex: pip install regex") from None
        return regex.findall(r"\X", line)

    def symbol(self, text):
        if self.kind == "numbers":
            if re.fullmatch("[+]?[0-9]+", text) and 0 < int(text) < self.bos:
                return int(text)
            raise ValueError(f"token {text!r} is not a number from 1 to {self.bos - 1}")
        if text in ("<pad>", "<s>", "</s>"):
            raise ValueError(f"{text} is reserved")
        return self.symbols.get(text, self.unknown)


SPACES = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space


def answer(tokens, decode, batch_size=64):
    """Answers the command line, or each line of standard input. A line that cannot be read has an empty answer."""
    if len(sys.argv) > 1:
        given = [os.fsencode(" ".join(sys.argv[1:]))]
    else:
        given = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")
    failed = False
    for start in range(0, len(given), batch_size):
        sources = []
        for number, line in enumerate(given[start:start + batch_size], start + 1):
            try:
                sources.append(tokens.ids(line.removesuffix(b"\r").decode()))
            except ValueError as error:
                reason = "not valid UTF-8" if isinstance(error, UnicodeDecodeError) else error
                print(f"error: line {number}: {reason}", file=sys.stderr)
                sources.append(None)
                failed = True
        rows = iter(decode([source for source in sources if source]))
        for source in sources:
            print(tokens.line(next(rows).tokens) if source else "")
    return int(failed)
