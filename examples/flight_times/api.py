"""The flights API of the example: real data, served page by page by a separate process that fails on a schedule.

    python api.py --port 8085 --seed 1 --folder out/api

`--poison 5` has it deliver half of May's air times in seconds, as a source does that changed its unit for some rows.
`--share 0.2` has it serve every fifth flight.

It keeps its own account of what it did: `requests.jsonl` has a line for every request, with the id that the client
gave it, the fault that it met, and whether the client had left before the answer; `corrupted.jsonl` has a line for
every cell that it corrupted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from data import DataPackageMissing, load_flights, load_planes, month_of

from resilient_tasks.testing.faults import Fault, Hang, Refused, Reset, Status, Truncate
from resilient_tasks.testing.http import FaultyServer, Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_ROWS = 2500
ORIGINS = ("EWR", "JFK", "LGA")
FAULTS: tuple[Fault, ...] = (
    Refused(),
    Reset(after_bytes=20_000),
    Status(503),
    Status(429, retry_after=1),
    Hang(8),
    Truncate(0.6),
)
#: What a corrupted cell turns into. None of these is a value of 2013's flights.
DIRT = {
    "air_time": ("n/a", "-12", "99999", "1O7"),
    "distance": ("??", "-1", "1e9"),
    "dest": ("", "12X", "new york"),
    "dep_time": ("25:61", "9999"),
    "carrier": ("#REF!",),
}


class Schedule:
    """The schedule of faults: the same for the same seed, whatever the order of the requests.

    About a quarter of the pages fail one to three times in a row before they are served. In one month the planes
    cannot be had at all.
    """

    def __init__(self, seed: int, pages: dict[int, list[int]], by_origin: dict[tuple[int, str], list[int]]) -> None:
        chance = random.Random(seed)
        self.outage = chance.randint(4, 9)
        self._out: Iterator[Fault] = itertools.cycle((Status(503), Refused(), Hang(8)))
        self._waiting: dict[tuple[str, str, str, str], deque[Fault]] = {}
        for month, sizes in pages.items():
            self._plan(chance, month, "", len(sizes))
        # Each cause at least once a year, whatever is drawn.
        for number, fault in enumerate(FAULTS, 1):
            self._waiting["/flights", str(2 * number), "1", ""] = deque([fault])
        chance = random.Random(f"{seed}/by origin")
        for (month, origin), sizes in by_origin.items():
            self._plan(chance, month, origin, len(sizes))

    def _plan(self, chance: random.Random, month: int, origin: str, pages: int) -> None:
        index = deque(chance.choices(FAULTS, k=chance.choice((0, 0, 0, 1))))
        self._waiting["/months", str(month), "", origin] = index
        for page in range(1, pages + 1):
            in_a_row = chance.choice((0, 0, 0, 0, 0, 0, 1, 1, 2, 3))
            self._waiting["/flights", str(month), str(page), origin] = deque(chance.choices(FAULTS, k=in_a_row))

    def __call__(self, request: Request) -> Fault | None:
        """Return the fault that this request meets."""
        month = request.query.get("month", "")
        if request.path == "/planes":
            return next(self._out) if month == str(self.outage) else None
        page, origin = request.query.get("page", ""), request.query.get("origin", "")
        waiting = self._waiting.get((request.path, month, page, origin))
        return waiting.popleft() if waiting else None


class FlightsApi:
    """The data behind the API: `/months?month=7`, `/flights?month=7&page=3`, `/planes?month=7`.

    With `&origin=JFK`, an index and its pages are of the flights that leave from one airport.

    Every CSV comes with its number of rows in the header `X-Rows`, as a client cannot see a cut between two lines.
    """

    def __init__(self, seed: int, folder: Path, poison: int = 0, share: float = 1) -> None:
        flights, self._planes = load_flights().iloc[:: round(1 / share)].astype(object), load_planes()
        self._months = {month: month_of(flights, month).copy() for month in range(1, 13)}
        self._by_origin: dict[tuple[int, str], pd.DataFrame] = {}
        with (folder / "corrupted.jsonl").open("w", encoding="utf-8") as ledger:
            for month, frame in self._months.items():
                places = {origin: frame.index[frame["origin"] == origin] for origin in ORIGINS}
                entries = list(corrupt(frame, random.Random(f"{seed}/{month}"), share))
                if month == poison:
                    entries += in_seconds(frame, {int(str(entry["row"])) for entry in entries})
                for entry in entries:
                    ledger.write(json.dumps({"month": month, **entry, **_by_origin(frame, places, entry)}) + "\n")
                self._by_origin |= {(month, origin): frame.loc[rows] for origin, rows in places.items()}

    @property
    def pages(self) -> dict[int, list[int]]:
        """Rows of each page, by month."""
        return {month: _pages(frame) for month, frame in self._months.items()}

    @property
    def pages_by_origin(self) -> dict[tuple[int, str], list[int]]:
        """Rows of each page, by month and airport."""
        return {place: _pages(frame) for place, frame in self._by_origin.items()}

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == "/health":
            return Response("ok")
        try:
            month = int(request.query["month"])
            origin = request.query.get("origin")
            frame = self._by_origin[month, origin] if origin else self._months[month]
            if request.path == "/planes":
                return _csv(self._planes)
            if request.path == "/months":
                return Response(json.dumps({"rows_by_page": _pages(frame)}))
            first = (int(request.query["page"]) - 1) * PAGE_ROWS
        except (KeyError, ValueError):
            return Response("give month=1..12 and page=1.. as numbers, and origin=EWR, JFK or LGA or none", 400)
        if request.path != "/flights" or not 0 <= first < len(frame):
            return Response("no such page", 404)
        return _csv(frame.iloc[first : first + PAGE_ROWS])


def corrupt(frame: pd.DataFrame, chance: random.Random, share: float = 1) -> Iterator[dict[str, object]]:
    """Corrupt one cell in each of a few dozen rows, in place, and return which one, and its new value."""
    for row in chance.sample(range(len(frame)), k=round(chance.randint(40, 140) * share)):
        column = chance.choice(list(DIRT))
        dirt = chance.choice(DIRT[column])
        frame.loc[frame.index[row], column] = dirt
        yield {"page": row // PAGE_ROWS + 1, "row": row, "column": column, "became": dirt}


def in_seconds(frame: pd.DataFrame, spared: set[int]) -> Iterator[dict[str, object]]:
    """Convert every other air time to seconds, in place, except in the rows `spared`, and return which."""
    known = [row for row, missing in enumerate(frame["air_time"].isna()) if not missing and row not in spared]
    for row in known[::2]:
        label = frame.index[row]
        frame.loc[label, "air_time"] = became = int(str(frame.loc[label, "air_time"])) * 60
        yield {"page": row // PAGE_ROWS + 1, "row": row, "column": "air_time", "became": became, "poisoned": True}


def _by_origin(frame: pd.DataFrame, places: dict[str, pd.Index[int]], entry: dict[str, object]) -> dict[str, object]:
    """Return a row's airport, and its page among that airport's flights."""
    label = frame.index[int(str(entry["row"]))]
    for origin, rows in places.items():
        if label in rows:
            return {"origin": origin, "page_at_origin": int(rows.searchsorted(label)) // PAGE_ROWS + 1}
    raise KeyError(label)


def _pages(frame: pd.DataFrame) -> list[int]:
    return [min(PAGE_ROWS, len(frame) - first) for first in range(0, len(frame), PAGE_ROWS)]


def _csv(frame: pd.DataFrame) -> Response:
    return Response(frame.to_csv(index=False), 200, "text/csv", {"X-Rows": str(len(frame))})


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"above 0, and 1 at most, not {text}")
    return share


def main() -> int:
    """Serve until standard input closes, which it does when the process that started this one ends."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--folder", type=Path, default=Path("out/api"))
    arguments.add_argument("--poison", type=int, default=0, choices=range(13), metavar="MONTH", help="half in seconds")
    arguments.add_argument("--share", type=_share, default=1, help="of the flights that are served")
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    try:
        api = FlightsApi(given.seed, given.folder, given.poison, given.share)
        schedule = Schedule(given.seed, api.pages, api.pages_by_origin)
        log = given.folder / "requests.jsonl"
        log.unlink(missing_ok=True)
        with FaultyServer(api, schedule, port=given.port, log=log) as server:
            print(json.dumps({"url": server.url, "outage": schedule.outage}), flush=True)
            sys.stdin.read()
    except (DataPackageMissing, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
