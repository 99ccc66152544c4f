"""The program `s2s`: where it is, its command line, and its errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

MISSING = 127  # as in a shell


class Error(Exception):
    """A failure of the program.

    `message` has what went wrong and why; `hint` what to do, unless the message has it. `code` is the exit
    code of the program: 2 for an invalid option, configuration or folder, 3 for a missing or damaged
    checkpoint, 4 if training diverged, 5 if another process uses the run folder, 128 + N for signal N, 1 for
    anything else, such as a line that is not a sequence. It is 127 if the program is missing.
    """

    def __init__(self, message: str, code: int, hint: str = "") -> None:
        super().__init__(message, code, hint)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  try: {self.hint}" if self.hint else self.message

    @classmethod
    def of_output(cls, code: int, stderr: str) -> Error:
        """The error of a process with this exit code and these messages."""
        _, is_found, message = ("\n" + stderr).rpartition("\nerror: ")
        if not is_found:
            message = stderr
        message, _, _ = message.partition("\n\nUsage:")
        message, _, hint = message.partition("\n  try: ")
        message = message.strip() or f"s2s ended with exit code {code}"
        return cls(message, code if code >= 0 else 128 - code, hint.strip())


def start(arguments: list[str], **streams: Any) -> subprocess.Popen[bytes]:
    """Starts the program."""
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.Popen([_path(), *arguments], env=environment, **streams)


def run(arguments: list[str], *, verbose: bool = False) -> str:
    """Runs the program to its end and returns its standard output.

    Warnings become Python warnings; with `verbose`, other messages go to `sys.stderr` as they arrive.
    """
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as stdout,
        start(arguments, stdin=subprocess.DEVNULL, stdout=stdout, stderr=pipe) as process,
    ):
        try:
            messages = _messages(process, verbose)
        except KeyboardInterrupt:
            _messages(process, verbose)  # Ctrl-C went to the program too, which saves and stops
            raise
        finally:
            if process.poll() is None:
                process.terminate()
        if process.returncode != 0:
            raise Error.of_output(process.returncode, messages)
        if not verbose:
            warn(messages)
        stdout.seek(0)
        return stdout.read().decode()


def _messages(process: subprocess.Popen[bytes], verbose: bool) -> str:
    """What a process writes to standard error until it ends."""
    lines = []
    for line in process.stderr or ():
        lines.append(line.decode(errors="replace"))
        if verbose:
            sys.stderr.write(lines[-1])
    process.wait()
    return "".join(lines)


def warn(messages: str) -> None:
    """Turns the warnings among messages into Python warnings, at the line that called this package."""
    here = os.path.dirname(__file__)
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == here:
        depth, frame = depth + 1, frame.f_back
    for message in messages.splitlines():
        label, _, text = message.partition(": ")
        if label == "warning":
            warnings.warn(text, stacklevel=depth)


def flags(options: Mapping[str, Any]) -> Iterator[str]:
    """Options of the command line: `n_best=3` is `--n-best=3`, `json=True` is `--json`.

    A list repeats its option; a trailing `_` avoids Python's keywords, as in `from_`.
    """
    for name, value in options.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if item is True:
                yield flag
            elif item is not None and item is not False:
                yield f"{flag}={os.fspath(item) if isinstance(item, os.PathLike) else item}"


def _path() -> str:
    """The path of the program: beside this module, or else in PATH."""
    name = f"s2s{sysconfig.get_config_var('EXE') or ''}"
    folders = [
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")),
        os.path.join(os.path.dirname(__file__), "../bin"),  # pip install --target
    ]
    paths = [os.path.join(folder, name) for folder in folders]
    path = next(filter(os.path.isfile, paths), shutil.which(name))
    if path is None:
        what = f"the program {name} is missing: it is neither in {folders[0]} nor in PATH"
        raise Error(
            what, MISSING, "pip install --force-reinstall, with the wheel that `cargo xtask wheel` builds"
        )
    return path
