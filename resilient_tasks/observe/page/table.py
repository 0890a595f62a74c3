"""Tables: on a phone each row is a card. Rows beyond the first few unfold, and one may lead to a call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resilient_tasks.core.wording import number_of
from resilient_tasks.observe.page.texts import NONE, text

#: Rows that are shown at once.
FEW = 6


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        cells: HTML; the first names the row.
        call: the place of its call in the time line, if it has one.
        operation: the operation that a row is about, if it is about a whole one.
    """

    cells: Sequence[str]
    call: int | None = None
    operation: str | None = None


def table(label: str, heads: Sequence[str], rows: Iterable[Row], *, few: int = FEW, id_of_rows: str = "") -> str:
    """Return a table for HTML.

    Args:
        label: its name for a screen reader.
        heads: the columns; one that ends in `#` holds numbers.
        rows: its rows.
        few: rows that are shown at once, of more.
        id_of_rows: the prefix of the rows' ids, if links lead to them.
    """
    found = list(rows)
    few += len(found) == few + 1  # a row takes no more room than the line that unfolds it
    shown = _table(label, heads, found[:few], id_of_rows)
    if not (left := found[few:]):
        return shown
    more = (
        f"<summary>{number_of(len(left), 'more row')}</summary>{_table(f'{label}, continued', heads, left, id_of_rows)}"
    )
    return f"{shown}<details>{more}</details>"


def _table(label: str, heads: Sequence[str], rows: Sequence[Row], id_of_rows: str) -> str:
    # Roles are repeated, because a table that is laid out as cards loses them.
    head = "".join(f'<th role="columnheader" scope="col"{_kind(name)}>{name.rstrip("#")}</th>' for name in heads)
    body = "".join(_row(heads, row, id_of_rows) for row in rows)
    return (
        f'<table role="table" aria-label="{label}"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _row(heads: Sequence[str], row: Row, id_of_rows: str) -> str:
    first, *others = row.cells
    about = ""
    if row.call is not None:
        about = f' data-call="{row.call}"'
        first = first if id_of_rows else f'<a href="#call-{row.call}" title="Show in the time line">{first}</a>'
    if row.operation is not None:
        about += f' data-operation="{text(row.operation)}"'
    if id_of_rows:
        about += f' id="{id_of_rows}{row.call}"'
    cells = "".join(
        f'<td role="cell" data-head="{name.rstrip("#")}"{_kind(name, cell)}>{cell}</td>'
        for name, cell in zip(heads[1:], others, strict=True)
    )
    return f'<tr role="row"{about}><th role="rowheader" scope="row">{first}</th>{cells}</tr>'


def _kind(name: str, cell: str = "") -> str:
    kinds = [kind for kind, holds in (("number", name.endswith("#")), ("unknown", cell == NONE)) if holds]
    return f' class="{" ".join(kinds)}"' if kinds else ""
