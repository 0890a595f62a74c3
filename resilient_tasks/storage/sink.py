"""Stream a polars frame to a file that appears whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resilient_tasks.storage.files import atomic_write

_SINKS = {".parquet": "sink_parquet", ".csv": "sink_csv", ".ndjson": "sink_ndjson", ".arrow": "sink_ipc"}


def sink(frame: Any, target: Path, rows: int) -> None:
    """Stream a polars frame to a file in the format of its suffix.

    Written beside the target first: a failing sink of polars 2.1 leaves a truncated file behind.
    """
    if not hasattr(frame, "lazy"):
        raise TypeError(f"sink_good writes frames of polars, not a {type(frame).__qualname__}: write `good` yourself")
    if target.suffix not in _SINKS:
        raise ValueError(f"{target} ends in none of {', '.join(_SINKS)}.")
    heights: list[int] = []  # threads of polars append to it

    def counted(part: Any) -> Any:
        heights.append(part.height)
        return part

    query = frame.lazy().map_batches(counted, streamable=True)
    with atomic_write(target) as temporary:
        getattr(query, _SINKS[target.suffix])(temporary)
        if sum(heights) != rows:
            raise RuntimeError(f"{target}: {sum(heights):,} of {rows:,} good rows written: the data changed meanwhile")
