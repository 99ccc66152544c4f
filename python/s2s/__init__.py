"""Sequence-to-sequence models with attention: train, evaluate and query them.

>>> import s2s
>>> run = s2s.train("configs/tiny.toml", run_dir="runs/tiny", verbose=False)
>>> s2s.metrics(run)[-1]["step"]
120
>>> model = s2s.load(run)
>>> print(model.predict(["3 1 4"])[0])
4 1 3

The module runs the program `s2s`, which comes with it. Each function has the options of the command that it
runs; `s2s COMMAND --help` lists them. A failure of the program is an `Error`.
"""

from ._model import Answer, Model, Score, load
from ._program import Error
from ._runs import Run, evaluate, metrics, resume, steps, train

__all__ = [
    "Answer",
    "Error",
    "Model",
    "Run",
    "Score",
    "evaluate",
    "load",
    "metrics",
    "resume",
    "steps",
    "train",
]
