"""Writes reversal data of the kind that JoeyNMT's tutorial trains on, as parallel text.

    python3 scripts/joeynmt_data.py corpora/joeynmt

50 symbols, uniform; lengths uniform: 1 to 25 for training, 1 to 30 for dev and test, so that the
longest are longer than any that was trained on. 50,000 training pairs, 1,000 of dev and of test,
drawn independently: nothing keeps a pair out of two files, and `s2s train` counts those that are.
The seeds are 42, 43 and 44.
"""

import argparse
import pathlib
import random

N_SYMBOLS = 50
SPLITS = [  # stem, pairs, greatest length, seed
    ("train", 50_000, 25, 42),
    ("dev", 1_000, 30, 43),
    ("test", 1_000, 30, 44),
]


def below(rng, n):
    """A whole number from 0 to n - 1. random() keeps its numbers across versions of Python."""
    return int(rng.random() * n)


def sources(n_pairs, max_len, seed):
    rng = random.Random(seed)
    for _ in range(n_pairs):
        yield [str(below(rng, N_SYMBOLS)) for _ in range(1 + below(rng, max_len))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="which must not have such files yet")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for stem, n_pairs, max_len, seed in SPLITS:
        pairs = list(sources(n_pairs, max_len, seed))
        for side, step in [("src", 1), ("trg", -1)]:
            with open(folder / f"{stem}.{side}", "x", encoding="utf-8", newline="\n") as file:
                file.writelines(" ".join(source[::step]) + "\n" for source in pairs)


if __name__ == "__main__":
    main()
