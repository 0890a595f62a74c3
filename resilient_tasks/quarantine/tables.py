# ruff: noqa: PLC0415 - pyarrow loads on first use
"""Quarantined rows as a file to correct by hand: CSV, JSON or Parquet, by its suffix.

An unchanged cell keeps its value as read and is not parsed. A changed cell is read in its column's type; if that
fails, the row stays in the quarantine, and the reason names the cell.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilient_tasks.quarantine.batch_file import ROW, join_columns
from resilient_tasks.quarantine.cells import from_csv, like, plain, to_csv, typed
from resilient_tasks.quarantine.replay import Corrected, same_value
from resilient_tasks.quarantine.row_numbers import with_numbers, without_numbers
from resilient_tasks.storage.arrow import PANDAS, POLARS, RECORDS, Shape, comparable_values, from_arrow, take, to_arrow
from resilient_tasks.storage.values import decode, dumps, loads
from resilient_tasks.validation.report import Reason

_INDEX_OF_PANDAS = re.compile(r"__index_level_\d+__")
_WHOLE = re.compile(r"(u?int\d+|bool)$")


def save_table(table: Any, path: Path) -> int:
    """Write the rows to correct.

    Args:
        table: What `Quarantine.table` returned.
        path: A file with the suffix `.csv`, `.json` or `.parquet`.

    Returns:
        The number of rows.

    Raises:
        ValueError: If the suffix is another.
    """
    _known(path)
    sheet = _Sheet.of(table)
    match path.suffix:
        case ".json":
            columns = [list(map(_json, sheet.plain(part))) for part in sheet.parts]
            keys = [_json(name) for name in (ROW, *sheet.names)]
            rows = [
                zip(keys, (str(row), *cells), strict=True) for row, *cells in zip(sheet.rows, *columns, strict=True)
            ]
            lines = ",\n".join(f"{{{', '.join(f'{key}: {cell}' for key, cell in row)}}}" for row in rows)
            path.write_text(f"[{lines}]\n", encoding="utf-8")
        case ".csv":
            columns = [sheet.csv(part) for part in sheet.parts]
            with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
                writer = csv.writer(file)
                writer.writerow([ROW, *map(to_csv, sheet.names)])
                writer.writerows(zip(sheet.rows, *columns, strict=True))
        case ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(join_columns({ROW: pa.array(sheet.rows, pa.int64())}, sheet.table), path)
    return len(sheet.rows)


def load_table(path: Path, table: Any) -> Corrected:
    """Read corrected rows. Unchanged cells keep their value and type.

    Args:
        path: A corrected file of `save_table`; rows may be left out.
        table: The current result of `Quarantine.table`.

    Returns:
        The `rows` for `Quarantine.replay`: in the library and types of `table`, with the unreadable cells.

    Raises:
        ValueError: If the suffix is unknown, the file is not such a table, or lacks a column.
    """
    import pyarrow as pa

    file, sheet = _File.read(path), _Sheet.of(table)
    if gone := [name for name in sheet.names if file.columns and name not in file.columns]:
        raise ValueError(f"{path} lacks the column {gone[0]!r}: keep every column under its name.")
    place = {row: at for at, row in enumerate(sheet.rows)}
    here = [at for at, row in enumerate(file.rows) if row in place]
    wanted = sheet.take([place[file.rows[at]] for at in here])
    wrong: dict[int, list[Reason]] = {}
    added: dict[str, list[Any]] = {}
    for name, column in file.columns.items():
        arrow = isinstance(column, pa.ChunkedArray)
        there = column.take(pa.array(here, pa.int64())) if arrow else [column[at] for at in here]
        part = next((part for part in wanted.parts if part["name"] == name), None)
        if part is not None:
            same = file.same(wanted, part, there)
            edits = {at: file.given(_cell(there[at])) for at, unchanged in enumerate(same) if not unchanged}
            wanted = wanted.edited(part, edits, wrong) if edits else wanted
        elif name != ROW and not _INDEX_OF_PANDAS.fullmatch(name):
            added[name] = [file.given(_cell(cell)) for cell in there]
    return wanted.corrected(added, wrong, frozenset(file.rows) - place.keys())


@dataclass(frozen=True)
class _Sheet:
    """The rows to correct, as stored."""

    table: Any
    shape: Shape
    rows: list[int]

    @classmethod
    def of(cls, table: Any) -> _Sheet:
        rows, frame = without_numbers(table)
        return cls(*to_arrow(frame, rows), rows)

    @property
    def parts(self) -> Sequence[Mapping[str, Any]]:
        parts: Sequence[Mapping[str, Any]] = self.shape["parts"]
        return parts

    @property
    def names(self) -> list[str]:
        return [part["name"] for part in self.parts]

    def plain(self, part: Mapping[str, Any]) -> list[Any]:
        return plain(self.table[part["name"]], json=part["json"])

    def csv(self, part: Mapping[str, Any]) -> list[str]:
        import pyarrow as pa

        values = self.plain(part)
        if self.shape["library"] == RECORDS:
            return [_json(value) for value in values]
        decimal = pa.types.is_decimal(self.table[part["name"]].type)  # a number: a minus is no formula
        return [value or "" for value in values] if decimal else list(map(to_csv, values))

    def take(self, positions: Sequence[int]) -> _Sheet:
        rows = [self.rows[at] for at in positions]
        return _Sheet(take(self.table, positions), self.shape, rows)

    def edited(self, part: Mapping[str, Any], edits: Mapping[int, Any], wrong: dict[int, list[Reason]]) -> _Sheet:
        """Return the sheet with edits of one column, by position; add reasons for refused edits to `wrong`."""
        import pyarrow as pa

        column = self.table[part["name"]].combine_chunks()
        column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        if pa.types.is_null(column.type):  # a column of nulls has no type yet
            part = {**part, "json": True, "dtype": {"object": "values", "missing": None}, "written": True}
            column = column.cast(pa.string())
        made: dict[int, Any] = {}
        for at, given in edits.items():
            try:
                made[at] = self._read(part, column, at, given)
            except ValueError:
                self._reject(part, column.type, at, given, wrong)
        sheet = self._with(part, column, made)
        if made and not sheet.fits(part):  # no member of an enumeration, for example
            for at in list(made):
                if not self._with(part, column, {at: made[at]}).fits(part):
                    self._reject(part, column.type, at, edits[at], wrong)
                    del made[at]
            sheet = self._with(part, column, made)
        return sheet

    def fits(self, part: Mapping[str, Any]) -> bool:
        """Return whether a column can be restored with its current values."""
        try:
            from_arrow(self.table, {**self.shape, "parts": [part]}, self.rows)
        except Exception:  # each library raises its own
            return False
        return True

    def corrected(self, added: Mapping[str, list[Any]], wrong: Mapping[int, Any], gone: frozenset[int]) -> Corrected:
        """Return the table to replay, including columns added in the file."""
        frame = from_arrow(self.table, self.shape, self.rows)
        for name, values in added.items():
            if self.shape["library"] == PANDAS:
                frame[name] = values
            elif self.shape["library"] == POLARS:
                import polars as pl

                frame = frame.with_columns(pl.Series(name, values, strict=False))
            else:
                frame = frame.append_column(name, [values])
        return Corrected(with_numbers(frame, self.rows), wrong, gone)

    def _read(self, part: Mapping[str, Any], column: Any, at: int, given: Any) -> Any:
        """Return the value to store for an edit.

        Raises:
            ValueError: If the column does not accept it.
        """
        if self.shape["library"] == RECORDS:
            return dumps(loads(given) if isinstance(given, str) and not part.get("value") else decode(given))
        if not part["json"]:
            dtype = part.get("dtype")
            whole = isinstance(dtype, str) and _WHOLE.fullmatch(dtype)
            return typed(given, column.type, nullable=not whole)
        before = column[at].as_py()
        value = like(None if before is None else loads(before), given)
        return None if value is None else dumps(value)

    def _reject(self, part: Mapping[str, Any], kind: Any, at: int, given: Any, wrong: dict[int, list[Reason]]) -> None:
        check = f"cannot be read as {'JSON' if self.shape['library'] == RECORDS else kind}"
        if given is None:
            check = "cannot be empty"
        wrong.setdefault(self.rows[at], []).append(Reason(str(decode(part["label"])), check, given))

    def _with(self, part: Mapping[str, Any], column: Any, made: Mapping[int, Any]) -> _Sheet:
        import pyarrow as pa

        places = list(range(len(column)))
        for number, at in enumerate(made):
            places[at] = len(column) + number
        array = pa.concat_arrays([column, pa.array(list(made.values()), column.type)]).take(
            pa.array(places, pa.int64())
        )
        at = self.names.index(part["name"])
        table = self.table.set_column(at, part["name"], array)
        parts = [part if each["name"] == part["name"] else each for each in self.parts]
        return _Sheet(table, {**self.shape, "parts": parts}, self.rows)


@dataclass(frozen=True)
class _File:
    """A corrected file: its row numbers and columns.

    Attributes:
        rows: The row numbers.
        columns: The cells of each column, by name.
        same: Return whether each cell of a column is unchanged.
        given: Return the content of a cell.
    """

    rows: list[int]
    columns: Mapping[str, Any]
    same: Callable[[_Sheet, Mapping[str, Any], Any], list[bool]]
    given: Callable[[Any], Any] = lambda cell: cell

    @classmethod
    def read(cls, path: Path) -> _File:
        _known(path)
        return {".json": cls._read_json, ".csv": cls._read_csv, ".parquet": cls._read_parquet}[path.suffix](path)

    @classmethod
    def _read_json(cls, path: Path) -> _File:
        try:
            rows = json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{path} is no JSON in UTF-8: {error}") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path} holds no list of rows.")
        if any(row.keys() != rows[0].keys() for row in rows):
            raise ValueError(f"The rows in {path} do not all have the same columns.")
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return cls(_numbers(path, columns) if rows else [], columns, _same_json)

    @classmethod
    def _read_csv(cls, path: Path) -> _File:
        csv.field_size_limit(sys.maxsize)
        try:
            head, rows = _csv(path)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not in UTF-8: save it as CSV UTF-8.") from error
        if odd := next((row for row in rows if len(row) != len(head)), None):
            raise ValueError(f"A row in {path} has {len(odd)} cells, and there are {len(head)} columns: {odd[:3]}")
        names = _once(path, [from_csv(name) or "" for name in head])
        columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
        return cls(_numbers(path, columns), columns, _same_csv, from_csv)

    @classmethod
    def _read_parquet(cls, path: Path) -> _File:
        import pyarrow.parquet as pq

        table = pq.read_table(path, use_threads=False)
        columns = {name: table[name] for name in _once(path, table.column_names)}
        numbers = {name: column.to_pylist() for name, column in columns.items() if name == ROW}
        return cls(_numbers(path, {**columns, **numbers}), columns, _same_parquet)


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the names and rows of a CSV file as spreadsheets save it: with semicolons or tabs, and empty borders."""
    with path.open(newline="", encoding="utf-8-sig", errors="surrogatepass") as file:
        first = file.readline()
        file.seek(0)
        comma = next((mark for mark in ",;\t" if ROW in next(csv.reader([first], delimiter=mark), ())), ",")
        head, *rows = [row for row in csv.reader(file, delimiter=comma) if any(row)] or [[]]
    while head and not head[-1] and not any(row[-1] for row in rows if len(row) == len(head)):
        rows = [row[:-1] if len(row) == len(head) else row for row in rows]
        head = head[:-1]
    return head, rows


def _once(path: Path, names: list[str]) -> list[str]:
    """Return the names, if they are unique."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{path} has two columns {twice!r}.")
    return names


def _cell(cell: Any) -> Any:
    """Return a cell's value; unchanged values may have no Python type."""
    return cell.as_py() if hasattr(cell, "as_py") else cell


def _known(path: Path) -> None:
    if path.suffix not in {".json", ".csv", ".parquet"}:
        raise ValueError(f"{path} ends in none of .csv, .json and .parquet.")


def _numbers(path: Path, columns: dict[str, Any]) -> list[int]:
    try:
        return [int(number) for number in columns.get(ROW, [None])]
    except (TypeError, ValueError):
        raise ValueError(f"Every row in {path} needs its number as {ROW!r}.") from None


def _same_json(sheet: _Sheet, part: Mapping[str, Any], cells: Any) -> list[bool]:
    written = [json.dumps(json.loads(_json(value))) for value in sheet.plain(part)]
    return [json.dumps(cell) == text for cell, text in zip(cells, written, strict=True)]


def _same_csv(sheet: _Sheet, part: Mapping[str, Any], cells: Any) -> list[bool]:
    return [cell == text for cell, text in zip(cells, sheet.csv(part), strict=True)]


def _same_parquet(sheet: _Sheet, part: Mapping[str, Any], column: Any) -> list[bool]:
    import pyarrow as pa

    read = sheet.table[part["name"]]
    with suppress(pa.ArrowException, NotImplementedError):  # otherwise a difference in type is a difference in value
        read = read.cast(column.type, safe=False)
    return list(map(same_value, comparable_values(read), comparable_values(column)))


def _json(value: Any) -> str:
    return dumps(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
