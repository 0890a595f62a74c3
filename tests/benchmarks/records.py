"""Records validated by a pydantic model: ours beside a handwritten loop."""

import random
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

from flights import CARRIERS, FARTHEST
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from resilient_tasks.validation.split import split

COUNT = 20_000


class Flight(BaseModel):
    """A record of six fields."""

    id: int = Field(ge=0)
    carrier: str = Field(max_length=2)
    distance: int = Field(gt=0, le=FARTHEST)
    fare: float = Field(ge=0)
    tail: str | None = None
    departed: datetime


@cache
def records(share: float) -> list[dict[str, Any]]:
    """Make records, a share of which break one rule each."""
    draw = random.Random(1)
    return [record(draw) | (broken(draw) if draw.random() < share else {}) for _ in range(COUNT)]


def broken(draw: random.Random) -> dict[str, Any]:
    return draw.choice([{"distance": 0}, {"fare": "n/a"}, {"id": -1}, {"carrier": "???"}])


def record(draw: random.Random) -> dict[str, Any]:
    return {
        "id": draw.randrange(10**6),
        "carrier": draw.choice(CARRIERS),
        "distance": draw.randrange(1, FARTHEST),
        "fare": round(draw.uniform(20, 900), 2),
        "tail": draw.choice(["N123AB", "N999ZZ", None]),
        "departed": "2013-01-01T10:00:00",
    }


def looped(share: float) -> Callable[[], Callable[[], object]]:
    def by_hand() -> object:
        validate = TypeAdapter(Flight).validate_python
        good, bad = [], []
        for each in records(share):
            try:
                good.append(validate(each))
            except ValidationError:
                bad.append(each)
        return good, bad

    return lambda: records(share) and by_hand


def ours(share: float) -> Callable[[], Callable[[], object]]:
    return lambda: records(share) and (lambda: split(records(share), Flight))
