"""Trained models that answer."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from . import _program
from ._process import Process
from ._runs import RunPath

Token = int | str
"""A token of an output: a number for synthetic data, otherwise its text."""


@dataclass(frozen=True)
class Answer:
    """An output of a model. `str(answer)` is its text."""

    text: str
    tokens: list[Token]
    probabilities: list[float]
    """The probability of each token, and of the end of the output if it was produced."""
    log_prob: float
    """The log-probability of the whole output, in nats."""
    stopped: bool
    """Whether the output ended by itself; otherwise it was cut at the maximum length."""
    attention: list[list[float]] | None
    """If requested, a row of weights over the source for each of the `probabilities`."""

    @property
    def probability(self) -> float:
        """The probability of the whole output."""
        return math.exp(self.log_prob)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Score:
    """How probable a model finds a given output."""

    log_prob: float
    """The log-probability of the whole output, in nats."""
    perplexity: float
    """The perplexity per token."""
    log_probs: list[float]
    """The log-probability of each token, and of the end."""
    ranks: list[int | None]
    """The rank of each token among all tokens of its step: all are 1 if greedy decoding returns this output.
    A token that is not in the vocabulary has none."""


class Model:
    """A trained model, from `load`.

    It keeps a process of the program for each set of options, so that repeated calls do not load the model
    again. `close`, or the end of a `with` block, ends them; so does the end of Python.
    """

    def __init__(self, run: RunPath, **options: Any) -> None:
        self._run = os.fspath(run)
        self._options = options
        self._processes: dict[tuple[str, ...], Process] = {}
        _program.run(self._command("predict", {}))  # no input: fails if the model cannot be loaded

    def predict(
        self, lines: Iterable[str], *, attention: bool = False, beam: int | None = None, **options: Any
    ) -> list[Answer]:
        """The most probable answer to each line, decoded greedily, or by a beam search of width `beam`.

        Tokens are separated by spaces or commas; a model of text reads lines of text. Further options are
        those of `s2s predict`, such as `max_len=20` or `prefix="4 1"`.
        """
        candidates = self.candidates(lines, attention=attention, beam=beam, **options)
        return [answers[0] for answers in candidates]

    def candidates(self, lines: Iterable[str], **options: Any) -> list[list[Answer]]:
        """Several answers to each line: the best ones of a beam search, best first, or random ones.

        `beam=5, n_best=3`, or `sample=True, draws=4, seed=1, temperature=1.5`; further options are those of
        `s2s predict`. A draw depends on the seed and on the position of its line in `lines`.
        """
        records = self._ask("predict", lines, options)
        return [[_answer(answer) for answer in record.get("predictions", [record])] for record in records]

    def score(self, pairs: Iterable[tuple[str, str]]) -> list[Score]:
        """How probable the model finds given outputs: pairs of a source and a target."""
        records = self._ask("score", [f"{source}\t{target}" for source, target in pairs], {})
        return [Score(**{field.name: record[field.name] for field in fields(Score)}) for record in records]

    def close(self) -> None:
        """Ends the processes; the next call starts new ones."""
        while self._processes:
            self._processes.popitem()[1].close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"s2s.load({self._run!r})"

    def _command(self, command: str, options: dict[str, Any]) -> list[str]:
        return [command, self._run, "--json", *_program.flags({**self._options, **options})]

    def _ask(self, command: str, lines: Iterable[str], options: dict[str, Any]) -> list[dict[str, Any]]:
        if isinstance(lines, str):
            raise TypeError(f"expected a list of lines, got one string; use [{lines!r}]")
        arguments = self._command(command, options)
        # Outside of the dict, the process belongs to this call alone.
        process = self._processes.pop(tuple(arguments), None) or Process(arguments)
        try:
            records = process.ask(list(lines))
        except BaseException:
            process.close()
            raise
        # A draw depends on the number of its line, which grows in a process.
        is_kept = not options.get("sample")
        if not is_kept or self._processes.setdefault(tuple(arguments), process) is not process:
            process.close()
        for number, record in enumerate(records, 1):
            if "error" in record:
                raise _program.Error(f"line {number}: {record['error']}", code=1)
        return records


def load(run: RunPath, **options: Any) -> Model:
    """Loads the model of a run: the best checkpoint of `runs/x`, or the latest one of `runs/x@last`.

    Options apply to every call, such as `ensemble=["runs/y", "runs/z"]`, `threads=1` or `device="cuda"`.
    """
    return Model(run, **options)


def _answer(record: dict[str, Any]) -> Answer:
    tokens = record["prediction"]
    return Answer(
        text=record.get("text", " ".join(map(str, tokens))),
        tokens=tokens,
        probabilities=record["probabilities"],
        log_prob=record["log_prob"],
        stopped=record["stopped"],
        attention=record.get("weights"),
    )
