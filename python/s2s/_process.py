"""A process of the program that answers lines as they come."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from . import _program
from ._program import Error


class Process:
    """A process that reads lines and writes a JSON record for each, in order.

    It writes what it has to say about a line to standard error, before its record.
    """

    close: Callable[[], object]
    """Ends the process, which has nothing to save. So does the end of this object, and of Python."""

    def __init__(self, arguments: list[str]) -> None:
        folder = tempfile.TemporaryDirectory(prefix="s2s-")
        path = Path(folder.name, "messages")
        with path.open("ab") as stderr:
            pipe = subprocess.PIPE
            self._process = _program.start(arguments, stdin=pipe, stdout=pipe, stderr=stderr)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._messages = path.open(encoding="utf-8", errors="replace")
        self._n_lines = 0
        streams: list[IO[Any]] = [self._stdin, self._stdout, self._messages]
        self.close = weakref.finalize(self, _close, self._process, streams, folder)

    def ask(self, lines: list[str]) -> list[dict[str, Any]]:
        """The record of each line. After an exception, the process can only be closed."""
        text = "".join(line + "\n" for line in lines)
        if text.count("\n") > len(lines):
            raise ValueError("a line must not contain a line break")
        # In a thread of its own, since the process stops reading while nobody reads what it writes.
        writer = threading.Thread(target=self._write, args=(text.encode(),), daemon=True)
        writer.start()
        records = [self._read() for _ in lines]
        writer.join()
        n_before, self._n_lines = self._n_lines, self._n_lines + len(lines)

        def of_this_call(number: re.Match[str]) -> str:
            return str(int(number[0]) - n_before)

        _program.warn(
            re.sub(r"(?<=^warning: line )\d+", of_this_call, self._messages.read(), flags=re.MULTILINE)
        )
        return records

    def _write(self, data: bytes) -> None:
        with suppress(OSError):  # the process has ended: `_read` notices
            self._stdin.write(data)
            self._stdin.flush()

    def _read(self) -> dict[str, Any]:
        line = self._stdout.readline()
        if not line:
            raise Error.of_output(self._process.wait(), self._messages.read())
        record: dict[str, Any] = json.loads(line)
        return record


def _close(
    process: subprocess.Popen[bytes], streams: list[IO[Any]], folder: tempfile.TemporaryDirectory[str]
) -> None:
    process.kill()
    process.wait()
    for stream in streams:
        with suppress(OSError):  # input that nobody reads
            stream.close()
    folder.cleanup()
