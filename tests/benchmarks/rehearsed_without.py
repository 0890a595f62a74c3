"""A month of the example, rehearsed as it is and without some policies: `python tests/benchmarks/rehearsed_without.py`.

Prints a line of JSON for each: what is taken out, the verdicts of its runs, and the smallest faults of each bad run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "flight_times"))

import fetching
import flow
import rehearsed

from resilient_tasks import Kind, LastGood, Retry, resilient_task
from resilient_tasks.rehearsal.faults import plan_of
from resilient_tasks.rehearsal.rehearsal import rehearse
from resilient_tasks.rehearsal.results import Rehearsal

#: Seconds after which a run is hung: a month takes ten, on a busy machine thirty.
_PATIENCE = 90


def as_it_is() -> Rehearsal:
    """Rehearse the month with all its policies."""
    return rehearse(rehearsed.month, runs=5)


def without_validation() -> Rehearsal:
    """Rehearse it without the schema of the register of aircraft, under half of it and a 503."""
    unchecked = resilient_task(
        retry=Retry(on=fetching.PASSING, attempts=5), timeout=5, deadline=60, fallback=LastGood(), idempotent=True
    )(fetching.fetch_planes.__wrapped__)
    with _replaced("fetch_planes", unchecked):
        faults = "fetch_planes:1:data:truncated:always,month_index:1:before:503"
        return rehearse(rehearsed.month, replay=plan_of(faults))


def without_a_timeout() -> Rehearsal:
    """Rehearse it without the timeout of the index, which is slow."""
    unlimited = resilient_task(retry=Retry(on=fetching.PASSING, attempts=10), idempotent=True)(
        fetching.month_index.__wrapped__
    )
    with _replaced("month_index", unlimited):
        return rehearse(rehearsed.month, replay=plan_of("month_index:1:before:slow"), patience=_PATIENCE)


@resilient_task(retry=Retry(on=Kind.TRANSIENT, attempts=2), timeout=30, idempotent=True)
def append_month(month: int, result: flow.MonthResult, key: str, seed: int, report: str) -> None:
    """Append the month to a file: twice if it is called twice."""
    with Path("months.txt").open("a", encoding="utf-8") as months:
        months.write(f"{result.month}\n")


def wrongly_idempotent() -> Rehearsal:
    """Rehearse it with a record that appends a line, and is declared idempotent; its answer is lost."""
    with _replaced("record", append_month):
        return rehearse(rehearsed.month, replay=plan_of("append_month:1:after:reset"))


@contextmanager
def _replaced(name: str, task: Any) -> Iterator[None]:
    own = getattr(flow, name)
    setattr(flow, name, task)
    try:
        yield
    finally:
        setattr(flow, name, own)


CASES: tuple[Callable[[], Rehearsal], ...] = (as_it_is, without_validation, without_a_timeout, wrongly_idempotent)


def main() -> None:
    """Rehearse each, or those whose names are given, and print what was found."""
    for case in CASES:
        if len(sys.argv) == 1 or case.__name__ in sys.argv:
            found = case()
            print(
                json.dumps(
                    {
                        "case": case.__name__,
                        "verdicts": [result.judged.verdict for result in found.results],
                        "smallest": [
                            {
                                "verdict": result.judged.verdict,
                                "faults": [fault.token for fault in result.faults],
                                "why": result.judged.why,
                            }
                            for result in found.smallest
                        ],
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
