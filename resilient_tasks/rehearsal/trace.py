"""The trace of a run: one line of JSON for each thing that happened, also if the process is killed afterwards."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write(path: str, do: str, **details: Any) -> None:
    """Append a line. Several processes and threads may do so at once."""
    line = json.dumps({"do": do, **details}, default=str) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines; without the last one if its writer was killed in the middle."""
    lines: list[dict[str, Any]] = []
    text = Path(path).read_text(encoding="utf-8") if Path(path).exists() else ""
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines
