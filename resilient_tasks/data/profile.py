"""Profiles of frames: types, counts and distributions, small enough to keep beside the schema."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resilient_tasks.data._columns import ColumnProfile, described
from resilient_tasks.data._values import dumps, loads
from resilient_tasks.data.schemas import fingerprint

__all__ = ["ColumnProfile", "Profile", "profile"]


@dataclass(frozen=True)
class Profile:
    """A baseline: the profile of a frame that is trusted.

    Attributes:
        library: `"pandas"`, `"polars"` or `"pyarrow"`.
        schema: the fingerprint of the schema that the frame satisfied.
        columns: its columns by name.
    """

    library: str
    schema: str
    columns: Mapping[str, ColumnProfile]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile to a JSON file. A concurrent reader sees the old file or the new one.

        It holds up to 1,000 values of each column of numbers, and the names of its categories.
        """
        fresh = Path(f"{os.fspath(path)}.{os.getpid()}.new")
        try:
            fresh.write_text(dumps(asdict(self)), encoding="utf-8")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile back.

        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: it holds no profile.
        """
        try:
            stored = loads(Path(path).read_text(encoding="utf-8"))
            columns = {name: _column(facts) for name, facts in stored["columns"].items()}
            return cls(stored["library"], stored["schema"], columns)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} holds no profile: {error}") from None


def _column(facts: Mapping[str, Any]) -> ColumnProfile:
    values: dict[str, Any] = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in facts.items()}
    return ColumnProfile(**values)


def profile(frame: Any, schema: Any) -> Profile:
    """Describe a frame that satisfies its schema, as the baseline for a `Drift` gate.

    Args:
        frame: a pandas or polars DataFrame, a polars LazyFrame, which is collected, or an Arrow table.
        schema: the schema or model that it satisfies; its fingerprint is kept.

    Raises:
        TypeError: the frame is none, or the schema is none.
        ValueError: two columns have the same name as text.
    """
    used, columns = described(frame)
    return Profile(used, fingerprint(schema), {name: column.profile() for name, column in columns.items()})
