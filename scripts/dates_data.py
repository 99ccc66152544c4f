"""Writes dates as people write them, and the same dates as ISO 8601, as a table.

    python3 scripts/dates_data.py dates.tsv

5,000 different pairs in eight formats, such as `March 3, 2024`, tab, `2024-03-03`. The seed is 1.
"""

import argparse
import datetime
import pathlib
import random

N_PAIRS = 5_000
FIRST = datetime.date(1950, 1, 1)
N_DAYS = 100 * 365
MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # not from the locale
FORMATS = [
    lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{MONTHS[d.month - 1][:3]} {d.day} {d.year}",
    lambda d: f"{d.day}-{MONTHS[d.month - 1][:3]}-{d.year}",
    lambda d: f"{d.month}/{d.day}/{d.year}",
    lambda d: f"{d.day:02}.{d.month:02}.{d.year}",
    lambda d: f"{d.year}.{d.month:02}.{d.day:02}",
    lambda d: f"{d.year}{d.month:02}{d.day:02}",
]


def below(rng, n):
    """A whole number from 0 to n - 1. random() keeps its numbers across versions of Python."""
    return int(rng.random() * n)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=pathlib.Path, help="the file to write; must not exist")
    table = parser.parse_args().table
    rng, rows = random.Random(1), {}
    while len(rows) < N_PAIRS:
        date = FIRST + datetime.timedelta(days=below(rng, N_DAYS))
        source = FORMATS[below(rng, len(FORMATS))](date)
        rows[f"{source}\t{date.isoformat()}"] = None
    with table.open("x", encoding="utf-8") as file:
        file.writelines(f"{row}\n" for row in rows)
    print(f"{table}: {N_PAIRS} pairs")


if __name__ == "__main__":
    main()
