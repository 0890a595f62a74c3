"""`resilient-tasks demo`: ten seconds of local failures, and how the policies handle them."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from resilient_tasks.cli.printing import DONE, STILL_WAITING, Subparsers, say
from resilient_tasks.core import settings
from resilient_tasks.core.outcome import Degraded, Ok, Outcome
from resilient_tasks.observe.report import RunReport
from resilient_tasks.testing.events import RecordedEvents
from resilient_tasks.testing.faults import Hang, Status
from resilient_tasks.testing.http import FaultyServer

_AMOUNTS = (12.5, 80.0, 7.25, 19.9, 44.0, 3.1, -999.0, 61.0, 5.5, 27.3, 9.9, 140.0)
_CSV = "order,amount\n" + "".join(f"{order},{amount}\n" for order, amount in enumerate(_AMOUNTS, 1))


def add_to(subparsers: Subparsers) -> None:
    """Add this command."""
    subparsers.add_parser(
        "demo", help="simulate ten seconds of failures, and show how the policies handle them"
    ).set_defaults(run=_run)


def _run(_: argparse.Namespace) -> int:
    say("An API on this machine fails on purpose. Two functions use it; no Prefect server is needed.\n")
    from resilient_tasks.cli import _demo_functions as functions  # noqa: PLC0415  # pandas and pandera load

    code = inspect.getsource(functions).partition("\n\n")[2]
    say(f"{_indented(code)}\n")
    with FaultyServer() as api, tempfile.TemporaryDirectory() as folder, RecordedEvents.listening() as events:
        settings.configure(enabled=True, quarantine=folder)
        _plan(api)
        say("The library's log:\n")
        with _logged():
            orders = functions.fetch_orders.outcome(api.url)
            rates = functions.fetch_rates.outcome(api.url)
        say(f"\nIts report:\n\n{_indented(RunReport(events).text())}\n")
        bad = _quarantined(folder)
    say(f"fetch_orders  {_described(orders, lambda frame: f'{len(frame)} rows to work with')}")
    say(f"fetch_rates   {_described(rates, str)}")
    used = len(orders.value) if isinstance(orders, Ok) else 0
    say(f"\nThe API failed {sum(api.served_faults().values())} requests.")
    say(f"{len(_AMOUNTS)} rows read = {used} used + {len(bad)} quarantined ({'; '.join(bad)}).")
    return DONE if used + len(bad) == len(_AMOUNTS) and isinstance(rates, Degraded) else STILL_WAITING


def _plan(api: FaultyServer) -> None:
    api.serve("/orders", _CSV, "text/csv")
    api.fail(Status(503), Status(429, retry_after=1), Hang(30), path="/orders")
    api.down(9, path="/rates")


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Print the library's log lines as they come."""
    logger, handler = logging.getLogger("resilient_tasks"), logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("    %(asctime)s  %(levelname)-7s  %(message)s", "%H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _quarantined(folder: str) -> list[str]:
    """Return what is wrong with each quarantined row."""
    from resilient_tasks.quarantine.quarantine import Quarantine  # noqa: PLC0415  # heavy

    quarantine = Quarantine(folder)
    rows = [row for batch in quarantine.list() for row in quarantine.read(batch).to_dict("records")]
    return [
        f"row {row['row']}: {reason['column']} is {reason['value']}, not {reason['check']}"
        for row in rows
        for reason in row["reasons"]
    ]


def _described(outcome: Outcome[Any], shown: Callable[[Any], object]) -> str:
    match outcome:
        case Ok(value, attempts):
            return f"Ok on attempt {attempts}: {shown(value)}"
        case Degraded(value, because):
            return f"Degraded to {shown(value)}, because of {because}"
        case _:
            return f"Failed: {outcome.error}"


def _indented(text: str) -> str:
    return "".join(f"    {line}".rstrip() + "\n" for line in text.rstrip().splitlines()).rstrip("\n")
