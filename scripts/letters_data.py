"""Writes the words of some texts, and the same words backwards, as a table.

    python3 scripts/letters_data.py letters.tsv README.md docs/*.md

Each word of 2 to 12 letters stands once, in lower case: `letter`, tab, `rettel`.
"""

import argparse
import pathlib
import re

SHORTEST, LONGEST = 2, 12


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=pathlib.Path, help="the file to write; must not exist")
    parser.add_argument("texts", type=pathlib.Path, nargs="+", help="plain text in UTF-8, of any language")
    arguments = parser.parse_args()

    words = set()
    for text in arguments.texts:
        found = re.findall(r"[^\W\d_]+", text.read_text(encoding="utf-8").lower())
        words.update(word for word in found if SHORTEST <= len(word) <= LONGEST)
    with arguments.table.open("x", encoding="utf-8", newline="\n") as table:
        for word in sorted(words):
            table.write(f"{word}\t{word[::-1]}\n")
    print(f"{len(words):,} words in {arguments.table}")


if __name__ == "__main__":
    main()
