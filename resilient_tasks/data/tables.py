# ruff: noqa: PLC0415 - pandas, polars and pyarrow load on first use
"""Quarantined rows as a file to correct by hand, and back: CSV, JSON or Parquet, by the file's ending."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resilient_tasks.data._rows import at, from_texts, library_of, shape_of, to_texts
from resilient_tasks.data._values import decode, dumps, loads
from resilient_tasks.data.replay import ROW

_VALUE = "record"


def save_table(table: Any, path: Path) -> int:
    """Write the rows to correct.

    Args:
        table: What `Quarantine.table` returned.
        path: A file that ends in `.csv`, `.json` or `.parquet`; Parquet is for frames.

    Returns:
        How many rows there are.

    Raises:
        ValueError: If the ending is another, or the rows do not go into such a file.
    """
    match path.suffix:
        case ".json":
            lines = ",\n".join(dumps(row) for row in _rows(table))
            path.write_text(f"[{lines}]\n", encoding="utf-8")
        case ".csv":
            rows = [_cells(row) for row in _rows(table)]
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]) if rows else [ROW])
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            _save_parquet(table, path)
        case _:
            raise ValueError(f"{path} ends in none of .csv, .json and .parquet.")
    return len(table)


def load_table(path: Path, table: Any) -> Any:
    """Read rows that were corrected. What a CSV file holds unchanged is the value as it was read, type and all.

    Args:
        path: What `save_table` wrote, corrected; rows may be left out.
        table: What `Quarantine.table` returns now.

    Returns:
        What `Quarantine.replay` takes as `rows`: of the library of `table`, and of its types where the values allow it.

    Raises:
        ValueError: If the file's ending is unknown, or it is not such a table.
    """
    match path.suffix:
        case ".json":
            rows = decode(json.loads(path.read_text(encoding="utf-8")))
        case ".csv":
            as_read = {str(row[ROW]): row for row in _rows(table)}
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = [_uncelled(row, as_read.get(row.get(ROW, ""), {})) for row in csv.DictReader(file)]
        case ".parquet":
            import pyarrow.parquet as pq

            rows = pq.read_table(path).to_pylist()
        case _:
            raise ValueError(f"{path} ends in none of .csv, .json and .parquet.")
    if not all(isinstance(row, dict) and row.get(ROW) is not None for row in rows):
        raise ValueError(f"Every row in {path} needs its number as {ROW!r}.")
    if isinstance(table, Mapping):
        return {int(row[ROW]): row[_VALUE] for row in rows}
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError(f"The rows in {path} do not all have the same columns.")
    return _frame(rows, table)


def _rows(table: Any) -> list[dict[str, Any]]:
    if isinstance(table, Mapping):
        return [{ROW: number, _VALUE: record} for number, record in table.items()]
    return [loads(text) for text in to_texts(table)]


def _save_parquet(table: Any, path: Path) -> None:
    if isinstance(table, Mapping):
        raise ValueError("Records of JSON do not go into Parquet: write .json.")  # noqa: TRY004 - the file is at fault
    try:
        table.to_parquet(path) if hasattr(table, "iloc") else table.write_parquet(path)
    except Exception as error:
        raise ValueError(f"These rows do not go into Parquet ({error}): write .json or .csv.") from error


def _cells(row: dict[str, Any]) -> dict[str, str]:
    return {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> str:
    """A value as a person edits it: text as it is, nothing for what is null, else as Python or JSON writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple):
        return dumps(value)
    if value is None or value != value or str(value) == "<NA>":  # noqa: PLR0124 - NaN and NaT differ from themselves
        return ""
    return str(value)


def _uncelled(row: dict[str, str], as_read: dict[str, Any]) -> dict[str, Any]:
    """Each cell as it was read, or as it was changed: then of the type of what it replaces, if that is possible."""
    return {
        name: as_read[name] if name in as_read and _cell(as_read[name]) == text else _changed(text, as_read.get(name))
        for name, text in row.items()
    }


def _changed(text: str, before: Any) -> Any:
    if text == "":
        return None
    if isinstance(before, dict | list | tuple):
        return loads(text)
    if isinstance(before, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(before, int | float):
        try:
            return type(before)(text)
        except ValueError:
            return text
    return text


def _frame(rows: list[dict[str, Any]], table: Any) -> Any:
    library, texts = library_of(table), [dumps(row) for row in rows]
    if not rows:
        return at(table, [])
    if library == "pandas":
        return _retyped(from_texts(texts, library, ""), table)
    try:
        return from_texts(texts, library, shape_of(table))
    except Exception:  # a value that is not of its column's type
        return from_texts(texts, library, "")


def _retyped(frame: Any, table: Any) -> Any:
    """The types of the table as read, column by column, where no value would change by it; and its index."""
    import pandas as pd

    index = [name for name in table.index.names if name is not None]
    kinds = {**{str(name): table.index.get_level_values(name).dtype for name in index}}
    kinds |= {str(name): kind for name, kind in table.dtypes.items()}
    for name in frame.columns.intersection(list(kinds)):
        try:
            typed = pd.Series(frame[name].tolist(), dtype="object").astype(kinds[name])
        except (ValueError, TypeError):
            continue
        if (typed.isna().to_numpy() == frame[name].isna().to_numpy()).all():
            frame[name] = typed
    return frame.set_index([str(name) for name in index]) if index else frame
