"""Runs: training, evaluation, and the records in their folders."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _program

RunPath = str | os.PathLike[str]
"""The folder of a run, or a `Run`; where weights are used, `runs/x@last` is the latest checkpoint."""


@dataclass(frozen=True)
class Run:
    """A run: its folder, and how it ended. Functions accept it wherever they accept a path."""

    path: Path
    """The folder."""
    outcome: dict[str, Any]
    """The content of run.json: `status`, `step`, `best_val_loss`, `elapsed_secs`, and so on. `test` has the
    metrics of the best checkpoint on the test split."""

    def __fspath__(self) -> str:
        return str(self.path)


def train(
    config: RunPath | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    verbose: bool = True,
    **options: Any,
) -> Run:
    """Trains a model: `s2s train`.

    `config` is a configuration file; without one, the default configuration. `settings` overrides its keys:
    `{"data.task": "copy", "train.max_steps": 500}`. Messages go to `sys.stderr` if `verbose`.

    Options are those of the command, such as `run_dir="runs/x"`, `seed=1` or `resume_or_start=True`.
    After Ctrl-C, the run is saved, and `resume` continues it.
    """
    return _train(["train", *_program.flags({"config": config})], settings, verbose, options)


def resume(
    run: RunPath,
    *,
    settings: Mapping[str, Any] | None = None,
    verbose: bool = True,
    **options: Any,
) -> Run:
    """Continues an interrupted run, or extends a finished one with `settings`: `s2s resume`."""
    return _train(["resume", os.fspath(run)], settings, verbose, options)


def evaluate(run: RunPath, *others: RunPath, **options: Any) -> dict[str, Any]:
    """The metrics of a run on a split, the test split by default: `s2s eval`.

    Several runs are an ensemble, whose probabilities are averaged. Options are those of the command, such as
    `split="val"`, `beam=5`, `lengths="1..40"` or `data="more.tsv"`.
    """
    arguments = [
        "eval",
        os.fspath(run),
        *(os.fspath(other) for other in others),
        "--json",
        *_program.flags(options),
    ]
    record: dict[str, Any] = json.loads(_program.run(arguments))
    return record


def metrics(run: RunPath) -> list[dict[str, Any]]:
    """A dict for each evaluation during training, in order: `pandas.DataFrame(s2s.metrics(run))`.

    `step`, `epoch`, `train_loss`, `val_loss`, `val_token_accuracy`, `val_exact_match`, and so on. Also of a
    run that is still training.
    """
    return _records(run, "metrics.jsonl")


def steps(run: RunPath) -> list[dict[str, Any]]:
    """A dict for every 10th step of training (see `log_every`): loss, accuracy, gradient norm, throughput."""
    return _records(run, "steps.jsonl")


def _train(
    command: list[str], settings: Mapping[str, Any] | None, verbose: bool, options: Mapping[str, Any]
) -> Run:
    sets = [f"--set={key}={json.dumps(value)}" for key, value in (settings or {}).items()]
    arguments = [*command, *sets, "--plain", "--json", *_program.flags(options)]
    outcome = json.loads(_program.run(arguments, verbose=verbose))
    return Run(Path(outcome.pop("run_dir")), outcome)


def _records(run: RunPath, name: str) -> list[dict[str, Any]]:
    path = Path(run, name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        what = f"cannot read {path}: {error.strerror}"
        raise _program.Error(what, 1, "the folder of a run that `s2s train` created") from error
    complete, _, _ = text.rpartition("\n")  # the last line may be in the making
    return [json.loads(line) for line in complete.splitlines()]
