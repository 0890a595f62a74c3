"""Outages of Prefect's server as seen by this process, for the log and for run reports."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass

from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES

from resilient_tasks.core.events import ApiAway
from resilient_tasks.core.execution import real_time as time

_logger = logging.getLogger("resilient_tasks")


def patience() -> float:
    """Return how long Prefect retries a request, in seconds: 62 with the default of five retries."""
    return float(2 ** (PREFECT_CLIENT_MAX_RETRIES.value() + 1) - 2)


@dataclass(eq=False, slots=True)
class Outage:
    """A period in which the server did not answer.

    Attributes:
        api: the server's address.
        since: its start, on the monotonic clock.
        ended: its end; None while it lasts.
        late: states of task runs that arrived after the outage.
        lost: states of task runs that never arrive.
        is_given_up: whether the process ended first.
    """

    api: str
    since: float
    ended: float | None = None
    late: int = 0
    lost: int = 0
    is_given_up: bool = False

    @property
    def is_overdue(self) -> bool:
        """Return whether it has lasted longer than Prefect would wait."""
        return time.monotonic() - self.since > patience()

    def as_event(self, operation: str) -> ApiAway:
        """Return it as an event of `operation`."""
        seconds, is_back = (
            (self.ended or time.monotonic()) - self.since,
            self.ended is not None and not self.is_given_up,
        )
        return ApiAway(operation=operation, api=self.api, seconds=seconds, back=is_back, late=self.late, lost=self.lost)


class Outages:
    """The known outages, written by the thread that sends events and read by the threads of runs."""

    def __init__(self) -> None:
        self._known: deque[Outage] = deque(maxlen=100)
        self._change = threading.Condition()

    def begin(self, api: str, since: float) -> Outage:
        """Record that the server at `api` has not answered since the time `since`."""
        outage = Outage(api, since)
        with self._change:
            self._known.append(outage)
        waits = f"states of task runs wait for it, for {patience():g} s at the end of the process"
        _logger.warning("the Prefect API at %s does not answer: %s", api, waits)
        return outage

    def end(self, outage: Outage) -> None:
        """Record and log that the server is back or that the wait for it ended."""
        with self._change:
            outage.ended = time.monotonic()
            self._change.notify_all()
        _logger.log(logging.WARNING if outage.lost else logging.INFO, "%s", outage.as_event("").sentence())

    def noticed(self, since: float) -> list[Outage]:
        """Return the outages that ended after `since`, once the current one has ended or Prefect would give up."""
        with self._change:
            while lasting := [outage for outage in self._of_this_server() if outage.ended is None]:
                if not self._change.wait(max(patience() - time.monotonic() + lasting[0].since, 0)):
                    break
            return [outage for outage in self._of_this_server() if outage.ended is None or outage.ended >= since]

    def _of_this_server(self) -> list[Outage]:
        here = PREFECT_API_URL.value()
        return [outage for outage in self._known if outage.api == here or not here]


outages: Outages = Outages()
