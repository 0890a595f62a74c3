"""The tasks that call the API, and the results that they keep. Failures are handled in the decorators."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import httpx
import pandas as pd
from data import read_exactly
from prefect.futures import PrefectFuture
from schema import Flights, Planes
from wording import counted, in_month, in_words

from resilient_tasks import (
    CircuitBreaker,
    CircuitOpen,
    Degraded,
    Failed,
    InvalidData,
    Kind,
    LastGood,
    Ok,
    Retry,
    RetryBudget,
    Slack,
    Validate,
    current_call,
    outcome_of,
    register_kind,
    resilient_task,
)


class TruncatedCsvError(ValueError):
    """The CSV has fewer rows than its header announces."""


register_kind(TruncatedCsvError, Kind.MALFORMED)

#: What passes when it is asked for again: a body that was cut short among it. Rows that the schema refuses come again.
#: While the circuit is open, a retry waits until it may ask again.
PASSING = (
    Kind.TRANSIENT,
    Kind.THROTTLED,
    Kind.TIMEOUT,
    CircuitOpen,
    TruncatedCsvError,
    json.JSONDecodeError,
    pd.errors.ParserError,
)
ALERTS = Slack()  # SLACK_WEBHOOK_URL
#: One for all tasks that ask the API, in all processes that share a store.
CIRCUIT = CircuitBreaker("flights-api", open_for=2, open_at_most=10)
#: A quarter of the requests meets a fault: as many retries as calls, and no storm of them.
BUDGET = RetryBudget("flights-api", share=1, floor=50, per=60)
#: Longer than any timeout below: when an attempt has taken too long is the decorator's business.
_PATIENCE = 60
#: Made once: reading the certificates takes longer than a page does.
_TLS = httpx.create_ssl_context()


def named(what: str) -> Callable[[dict[str, Any]], str]:
    """Name task runs by their month and other arguments: "January page 3", "January JFK page 3"."""
    return lambda parameters: in_month(parameters["month"], what.format(**parameters), parameters.get("origin"))


@resilient_task(
    retry=Retry(on=PASSING, attempts=10, wait=0.2, budget=BUDGET),
    breaker=CIRCUIT,
    timeout=5,
    idempotent=True,
    task_run_name=named("index"),
)
async def month_index(month: int, origin: str | None = None) -> list[int]:
    """Ask how many rows each page of a month has, of all airports or of one."""
    rows: list[int] = (await _get("/months", month=month, origin=origin)).json()["rows_by_page"]
    return rows


@resilient_task(
    retry=Retry(on=PASSING, attempts=10, budget=BUDGET),
    breaker=CIRCUIT,
    timeout=5,
    deadline=180,
    validate=Validate(output=Flights, on_invalid="quarantine", max_invalid=0.05),
    notify=ALERTS,
    idempotent=True,
    task_run_name=named("page {page}"),
)
async def fetch_page(month: int, page: int, origin: str | None = None) -> pd.DataFrame:
    """Fetch one page of a month's flights, of all airports or of one."""
    return _rows(await _get("/flights", month=month, page=page, origin=origin))


@resilient_task(
    retry=Retry(on=PASSING, attempts=5, wait=0.5, budget=BUDGET),
    breaker=CIRCUIT,
    timeout=5,
    deadline=60,
    validate=Planes,
    fallback=LastGood(max_age="62d", key=lambda month: "planes"),  # noqa: ARG005  # those of any month
    notify=ALERTS,
    idempotent=True,
    task_run_name=named("planes"),
)
def fetch_planes(month: int) -> pd.DataFrame:
    """Fetch the register of aircraft, as it is this month."""
    with httpx.Client(**_client()) as client:
        return _rows(client.get("/planes", params={"month": month}).raise_for_status())


@dataclass(frozen=True)
class Gathered:
    """The results of a month's pages.

    Attributes:
        flights: the rows that the schema accepts.
        read: rows of the pages that came, by the index.
        absent: rows of the pages that did not.
        withheld: good rows of pages that the schema refused as a whole; their bad rows lie in the quarantine.
        lost: how many pages did not come, and why; empty where all did.
        refused: which pages the schema refused, and why; empty where none was.
    """

    flights: pd.DataFrame
    read: int
    absent: int
    withheld: int
    lost: str
    refused: str

    @property
    def quarantined(self) -> int:
        """Rows in the quarantine."""
        return self.read - self.withheld - len(self.flights)


def gathered(pages: Sequence[PrefectFuture[Any]], sizes: Sequence[int]) -> Gathered:
    """Wait for the pages, and return their rows, the number of missing rows, and the reasons."""
    come, absent, withheld = [], 0, 0
    lost: Counter[str] = Counter()
    refused: list[InvalidData] = []
    for page, rows in zip(pages, sizes, strict=True):
        match outcome_of(page):
            case Ok(frame) | Degraded(frame):
                come.append(frame)
            case Failed(error=InvalidData() as error):
                refused.append(error)
                withheld += rows - _invalid(error)
            case Failed(error=error):
                absent += rows
                lost[type(error).__name__] += 1
    flights = pd.concat(come, ignore_index=True) if come else pd.DataFrame(columns=list(Flights.columns))
    return Gathered(
        flights, sum(sizes) - absent, absent, withheld, _lost(lost, len(pages)), _refused(refused, len(pages))
    )


def planes_of(planes: PrefectFuture[Any]) -> tuple[tuple[str, ...], bool]:
    """Return the names of stand-ins, `("planes",)` or none, and whether there are any planes."""
    match outcome_of(planes):
        case Ok():
            return (), True
        case Degraded():
            return ("planes",), True
        case Failed():
            return (), False


def _lost(lost: Counter[str], pages: int) -> str:
    why = ", ".join(f"{name} ×{count}" for name, count in lost.most_common())
    return f"{lost.total()} of {counted(pages, 'page')} never came ({why})" if lost else ""


def _refused(errors: Sequence[InvalidData], pages: int) -> str:
    rules: Counter[str] = Counter()
    for error in errors:
        for (column, check), rows in getattr(error.report, "reasons", {}).items():
            rules[in_words(f"{column}: {check}")] += rows
    worst = "; ".join(f"{rule} ×{rows:,}" for rule, rows in rules.most_common(1))
    return f"{len(errors)} of {counted(pages, 'page')} refused by the schema ({worst})" if errors else ""


def _invalid(error: InvalidData) -> int:
    return int(getattr(error.report, "invalid", 0))


async def _get(path: str, **query: int | str | None) -> httpx.Response:
    asked = {name: value for name, value in query.items() if value is not None}
    async with httpx.AsyncClient(**_client()) as client:
        return (await client.get(path, params=asked)).raise_for_status()


def _rows(response: httpx.Response) -> pd.DataFrame:
    rows = read_exactly(StringIO(response.text))
    announced = int(response.headers["X-Rows"])
    if len(rows) != announced:
        msg = f"{len(rows)} rows came of {announced}"
        raise TruncatedCsvError(msg)
    return rows


def _client() -> dict[str, Any]:
    # The API logs the id of each request, so its log can be compared with each attempt.
    headers = {"X-Request-ID": f"{call.work.id}/{call.attempt}"} if (call := current_call()) else {}
    where = os.environ["FLIGHT_TIMES_API"]
    return {"base_url": where, "headers": headers, "follow_redirects": True, "timeout": _PATIENCE, "verify": _TLS}
