"""The file of one process about one run: bounded in bytes, flushed at each line, and never the reason for a failure."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from resilient_tasks import safely
from resilient_tasks.core import home
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.observe import journal_room
from resilient_tasks.redaction.patterns import compiled

#: The most bytes of one run, and the least that a process may write about it, however much the others wrote.
MOST, LEAST = 100_000_000, 1_000_000
#: The share of the bytes that is kept for what matters most.
_FOR_ALL = 0.9
_GRAVE = frozenset(("call.failed", "fallback.used", "rows.quarantined", "notify.failed", "run.started", "run.ended"))
#: Seconds until the next try, if a line could not be written.
_PAUSE = 30.0
_UNSAFE = compiled(r"[^A-Za-z0-9._-]")
_random = os.urandom(3).hex()

_for_all_values = json.JSONEncoder(separators=(",", ":"), default=safely.shown).encode


def _line(values: Mapping[str, Any]) -> bytes:
    """Return the line of JSON for these values; what JSON does not know is written as its `repr`."""
    try:
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # such as a key that is no text, or half of a surrogate pair
        return _for_all_values(values).encode() + b"\n"


def file_name() -> str:
    """Return the name of this process's files, unique across machines."""
    return f"{plain_name(socket.gethostname())}-{os.getpid()}-{_random}"


def plain_name(text: str) -> str:
    """Return `text` as the name of a file or folder."""
    return _UNSAFE.sub("_", text)[:120].strip(".") or "_"


@cache
def _process(pid: int) -> Mapping[str, Any]:
    """Return what identifies this process, so that a reader can find out whether it still runs."""
    import psutil  # noqa: PLC0415  # once, with the first event of a run

    return {
        "host": socket.gethostname(),
        "pid": pid,
        "process_started": psutil.Process(pid).create_time(),
        "version": sys.modules["resilient_tasks"].__version__,
        "python": sys.version.split()[0],
    }


class RunFile:
    """Appends lines to the file of this process in the folder of a run, which is made with the first line.

    Not thread-safe.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder
        self._file: int | None = None
        self._room = 0
        self._left_out: Counter[str] = Counter()
        self._next_note = 1
        self._try_after = 0.0
        self._is_torn = False
        self._number = 0

    def write(self, values: dict[str, Any], name: str) -> None:
        """Append a line, with its number in the file, so that a reader notices a line that is gone.

        If there is no room, or the last write failed a moment ago, only count it.

        Raises:
            OSError: it could not be written; it is counted.
        """
        if self._file is None and time.monotonic() < self._try_after:
            self._left_out[name] += 1
            return
        try:
            if self._file is None:
                self._open()
            values["line"] = self._number
            line = _line(values)
            if name == "run.ended" or len(line) <= self._room - (0 if name in _GRAVE else self._reserve):
                self._put(line)
            else:
                self._leave_out(name)
        except OSError:
            self._left_out[name] += 1
            self._try_after = time.monotonic() + _PAUSE
            self.close()
            raise
        if name == "run.ended" and self._left_out:
            self._note_left_out()

    def lose(self, why: str, number: int) -> None:
        """Count events that were not written."""
        self._left_out[why] += number
        if self._file is not None:
            self._note_left_out()

    def end_process(self) -> None:
        """Append a line that says that this process ends."""
        if self._file is not None:
            if self._left_out:
                self._note_left_out()
            self._note("process.ended")

    def pause(self) -> None:
        """Close the file until another `RunFile` goes on with it."""
        with contextlib.suppress(OSError):
            if self._file is not None and self._left_out:
                self._note_left_out()
        self.close()

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _open(self) -> None:
        is_new = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / f"{file_name()}.jsonl"
        home.keep_private(path)
        if is_new:
            journal_room.make_room(self.folder.parent, besides=self.folder)
        used = sum(each.stat().st_size for each in self.folder.glob("*.jsonl"))
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
        own = os.fstat(self._file).st_size
        self._room = max(LEAST - own, MOST - used)
        self._reserve = int(max(LEAST, MOST - used) * (1 - _FOR_ALL))
        if own == 0:
            self._note("file.begun", **_process(os.getpid()))
            return
        self._is_torn = bool(self._left_out)  # the last line may have been written in part
        if self._number == 0:
            self._note("file.resumed")
        if self._left_out:
            self._note_left_out()

    def _put(self, line: bytes) -> None:
        if self._is_torn:  # an earlier line may have been written in part
            line, self._is_torn = b"\n" + line, False
        assert self._file is not None  # noqa: S101  # opened before
        self._is_torn = True
        while line:  # a full disk takes a part of it
            written = os.write(self._file, line)
            self._room -= written
            line = line[written:]
        self._is_torn = False
        self._number += 1

    def _leave_out(self, name: str) -> None:
        self._left_out[name] += 1
        if self._left_out.total() >= self._next_note:  # the process may be killed before it can count them all
            self._next_note *= 2
            self._note_left_out()

    def _note_left_out(self) -> None:
        self._note("events.left_out", events=dict(self._left_out))

    def _note(self, name: str, **about: Any) -> None:
        self._put(_line({"event.name": name, "time": time.time(), **about, "line": self._number}))
