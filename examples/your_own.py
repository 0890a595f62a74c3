"""A custom policy, event and channel, used in a Prefect task.

    python examples/your_own.py

A geocoder sells a number of calls a day. The policy `Quota` counts them for all workers, the event `QuotaLow` says when
four fifths are used, and the channel `Ntfy` pushes to a phone what failed.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from resilient_tasks import (
    Failed,
    Ok,
    Policy,
    PolicyError,
    RateLimited,
    configure,
    explain,
    outcome_of,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.alerts.message import Message
from resilient_tasks.core.events import Event, bus
from resilient_tasks.state.states import count
from resilient_tasks.testing import FaultyServer, flush_messages

DAY = 86_400


class QuotaLow(Event):
    """Four fifths of a quota are used."""

    name = "quota.low"
    quota: str
    used: int
    calls: int

    def sentence(self) -> str:
        return f"quota {self.quota}: {self.used} of {self.calls} calls are used"


@dataclass(frozen=True, eq=False)
class Quota(Policy):
    """Allow at most `calls` calls in the day that begins with the first, across all workers that share a store."""

    slot: ClassVar[str] = "rate limit"  # each attempt of a retry counts

    name: str
    calls: int

    def __post_init__(self) -> None:
        if self.calls < 1:
            raise PolicyError(f"Quota(calls=...) is a number of calls, 1 or more, not {self.calls!r}")

    def longest(self, inner: Any) -> Any:
        return inner  # it takes no time

    async def around(self, call: Any, proceed: Callable[..., Any]) -> Any:
        used = count(f"quota/{self.name}", ttl=DAY)
        if used > self.calls:
            return Failed(RateLimited(f"quota {self.name}: all {self.calls} calls of the day are used"))
        if used == max(1, self.calls * 4 // 5):
            call.emit(QuotaLow, quota=self.name, used=used, calls=self.calls)
        return await proceed(call)

    def describe(self) -> str:
        return f"quota: {self.name}, {self.calls} calls a day"


@dataclass(frozen=True)
class Ntfy:
    """Push messages to a phone by ntfy: ntfy.sh, or your own server."""

    server: str
    topic: str

    @property
    def name(self) -> str:
        return f"ntfy:{self.topic}"  # names the destination, and holds no secret

    def send(self, message: Message, *, within: float) -> None:
        push: dict[str, Any] = {"topic": self.topic, "title": message.headline(), "message": message.text()}
        push["priority"] = 4 if message.occasion == "first" else 2
        httpx.post(self.server, json=push, timeout=within, trust_env=False).raise_for_status()


# From here on: a geocoder and an ntfy server on this machine, so that the example runs as it is.
geocoder = FaultyServer(lambda request: f"40.7, -73.{len(request.query['q'])}").start()
phone = FaultyServer(lambda _: "{}").start()
configure(incidents="memory:")  # so that a second run is a new incident, and pushes again


@resilient_task(
    retry=3,
    timeout=10,
    idempotent=True,
    policies=[Quota("geocoder", calls=10)],
    notify=Ntfy(phone.url, "data-team"),  # yours: Ntfy("https://ntfy.sh", "a topic that you have subscribed to")
)
def locate(address: str) -> str:
    response = httpx.get(geocoder.url, params={"q": address}, trust_env=False)
    return response.raise_for_status().text


@resilient_flow
def locate_all(addresses: list[str]) -> dict[str, str]:
    """Return the place of each address, until the quota is used up."""
    outcomes = [outcome_of(locate.submit(address)) for address in addresses]
    return {address: found.value for address, found in zip(addresses, outcomes, strict=True) if isinstance(found, Ok)}


#: If no Prefect server is set, Prefect starts one for the run. A busy machine needs more than its limit of 20 s.
ALONE = {PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120, PREFECT_SERVER_ANALYTICS_ENABLED: False}

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(explain(locate))
    events: list[Event] = []
    bus.subscribe(events.append)
    addresses = [f"{number} Broadway" for number in range(1, 15)]
    if not PREFECT_API_URL.value():
        print("starting a Prefect server, which takes 10 to 60 s ...", file=sys.stderr, flush=True)
    with temporary_settings(ALONE):
        found = locate_all(addresses)
    flush_messages()
    print(f"\n{len(found)} of {len(addresses)} addresses; the geocoder counted {len(geocoder.requests)} requests")
    for event in events:
        if isinstance(event, QuotaLow):
            print(f"{event.name}: {event.sentence()}")
    for request in phone.requests:
        push = request.json()
        print(f"\npushed to {push['topic']}, priority {push['priority']}:\n{push['message']}")
    geocoder.stop()
    phone.stop()
