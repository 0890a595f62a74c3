"""The schemas of flights and planes, which every published row of 2013 satisfies.

All columns are coerced, because CSV arrives as text; a cell that does not coerce is a malformed cell. The
limits are those of aviation and not of the sample: New York's shortest flight, 17 miles, is true.
"""

from __future__ import annotations

import pandera.pandas as pa

_IN_2013 = pa.Check.equal_to(2013)
_AIRPORT = pa.Check.str_matches(r"^[A-Z]{3}$")
_TAIL_NUMBER = pa.Check.str_matches(r"^[A-Z0-9]{5,6}$")
# HHMM. The longest flight of the year took 695 minutes; 1,000 is beyond any airliner from New York.
_CLOCK = pa.Check.in_range(0, 2400)
_AIR_TIME = pa.Check.in_range(5, 1000)
_DISTANCE = pa.Check.in_range(10, 10_000)


def _whole(check: pa.Check, *, nullable: bool = False) -> pa.Column:
    return pa.Column("Int64", check, nullable=nullable, coerce=True)


def _text(check: pa.Check, *, nullable: bool = False, unique: bool = False) -> pa.Column:
    return pa.Column("str", check, nullable=nullable, unique=unique, coerce=True)


Flights = pa.DataFrameSchema(
    {
        "year": _whole(_IN_2013),
        "month": _whole(pa.Check.in_range(1, 12)),
        "day": _whole(pa.Check.in_range(1, 31)),
        "dep_time": _whole(_CLOCK, nullable=True),
        "sched_dep_time": _whole(_CLOCK),
        "sched_arr_time": _whole(_CLOCK),
        "carrier": _text(pa.Check.str_matches(r"^[A-Z0-9]{2}$")),
        "flight": _whole(pa.Check.in_range(1, 9999)),
        "tailnum": _text(_TAIL_NUMBER, nullable=True),
        "origin": _text(pa.Check.isin(["EWR", "JFK", "LGA"])),
        "dest": _text(_AIRPORT),
        "air_time": _whole(_AIR_TIME, nullable=True),
        "distance": _whole(_DISTANCE),
        "hour": _whole(pa.Check.in_range(0, 24)),
        "minute": _whole(pa.Check.in_range(0, 59)),
    },
    name="Flights",
)
"""Flights as the API serves them: `distance` in miles, `air_time` in minutes, missing where cancelled."""

Planes = pa.DataFrameSchema(
    {
        "tailnum": _text(_TAIL_NUMBER, unique=True),
        "year": _whole(pa.Check.in_range(1930, 2013), nullable=True),
        "engines": _whole(pa.Check.in_range(1, 8)),
        "seats": _whole(pa.Check.in_range(1, 900)),
    },
    name="Planes",
)
"""Aircraft by tail number. `year` is the year of manufacture, unknown for 70 of them."""
