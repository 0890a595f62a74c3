# ruff: noqa: PLC0415 - pandas, polars and pyarrow load on first use
"""Rows of a frame as JSON texts, and the frame again from them: values, types, index and library."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

from resilient_tasks.data._values import dumps, loads, texts

RECORDS, PANDAS, POLARS = "records", "pandas", "polars"


def library_of(frame: Any) -> str:
    """Which library's the frame is; `"records"` for a list."""
    return RECORDS if isinstance(frame, list) else PANDAS if hasattr(frame, "iloc") else POLARS


def to_texts(frame: Any) -> list[str]:
    """Each row as a JSON object: the columns, and the index where it has a name of its own. Records as they are."""
    if isinstance(frame, list):
        return [dumps(record) for record in frame]
    names, columns = _columns(frame)
    if not columns:
        return ["{}"] * len(frame)
    fields = ", ".join(f"{dumps(name).replace('%', '%%')}: %s" for name in names)
    row_of = f"{{{fields}}}"
    return [row_of % row for row in zip(*map(texts, columns), strict=True)]


def shape_of(frame: Any) -> str:
    """The frame without its rows, as text: what `from_texts` needs to give the rows their types back.

    Empty where Arrow has no word for one of its types; the rows come back all the same, with the types they suggest.
    """
    import pyarrow as pa

    buffer = io.BytesIO()
    try:
        match library_of(frame):
            case "pandas":
                empty = pa.RecordBatch.from_pandas(frame.iloc[:0])
                with pa.ipc.new_stream(buffer, empty.schema) as stream:
                    stream.write_batch(empty)
            case "polars":
                frame.clear().write_ipc(buffer)
    except Exception:  # whatever it is: evidence is written
        return ""
    return base64.b64encode(buffer.getvalue()).decode()


def from_texts(rows: Iterable[str], library: str, shape: str) -> Any:
    """The frame that `to_texts` was given.

    Args:
        rows: What `to_texts` returned, or some of it.
        library: What `library_of` returned.
        shape: What `shape_of` returned.
    """
    values = [loads(text) for text in rows]
    if library == RECORDS:
        return values
    return _pandas_frame(values, shape) if library == PANDAS else _polars_frame(values, shape)


def at(frame: Any, positions: Sequence[int]) -> Any:
    """The rows at these positions, from 0."""
    if isinstance(frame, list):
        return [frame[position] for position in positions]
    return frame.iloc[list(positions)] if hasattr(frame, "iloc") else frame[list(positions)]


def together(frames: Sequence[Any]) -> Any:
    """One frame of several, under each other; a column that one of them lacks is null there.

    Raises:
        TypeError: If they are not of one library.
    """
    if len({library_of(frame) for frame in frames}) > 1:
        raise TypeError("Rows of different libraries do not go into one frame; take them batch by batch.")
    if isinstance(frames[0], list):
        return [record for frame in frames for record in frame]
    if hasattr(frames[0], "iloc"):
        import pandas as pd

        unnamed = all(frame.index.names == [None] for frame in frames)
        return pd.concat(list(frames), ignore_index=unnamed)
    import polars as pl

    return pl.concat(frames, how="diagonal_relaxed")


def _columns(frame: Any) -> tuple[list[str], list[list[Any]]]:
    if not hasattr(frame, "iloc"):
        return list(frame.columns), [frame[name].to_list() for name in frame.columns]
    levels = [(name, frame.index.get_level_values(at)) for at, name in enumerate(frame.index.names) if name is not None]
    columns = [level.tolist() for _, level in levels]
    columns += [frame.iloc[:, at].tolist() for at in range(frame.shape[1])]
    return _names([*(name for name, _ in levels), *frame.columns]), columns


def _names(labels: Iterable[Any]) -> list[str]:
    names: dict[str, None] = {}
    for label in labels:
        text, number = str(label), 1
        while text in names:  # two columns of one name are both evidence
            text, number = f"{label}.{number}", number + 1
        names[text] = None
    return list(names)


def _pandas_frame(values: list[dict[str, Any]], shape: str) -> Any:
    import pandas as pd
    import pyarrow as pa

    if not shape:
        return pd.DataFrame(values)
    empty = pa.ipc.open_stream(base64.b64decode(shape)).read_all().to_pandas()
    index = [name for name in empty.index.names if name is not None]
    labels = [*index, *empty.columns]
    types = [*(empty.index.get_level_values(name).dtype for name in index), *empty.dtypes]
    columns = [_series([row[name] for row in values], kind) for name, kind in zip(_names(labels), types, strict=True)]
    frame = pd.DataFrame(dict(enumerate(columns)), index=range(len(values)))
    frame.index = pd.RangeIndex(len(values))
    if index:
        frame = frame.set_index(list(range(len(index))))
        frame.index.names = index
    frame.columns = empty.columns
    return frame


def _series(values: list[Any], kind: Any) -> Any:
    import pandas as pd

    try:
        return pd.Series(values, dtype=kind)
    except Exception:  # a value that is kept as text, of a type that JSON has no word for
        return pd.Series(values, dtype=object)


def _polars_frame(values: list[dict[str, Any]], shape: str) -> Any:
    import polars as pl

    if not shape:
        return pl.DataFrame(values, infer_schema_length=None)
    empty = pl.read_ipc(io.BytesIO(base64.b64decode(shape)))
    columns = {name: [row[name] for row in values] for name in empty.columns}
    return pl.DataFrame(columns, schema=empty.schema)
