"""500 URLs of 20 hosts, some of which are flaky: a circuit, a limit and a retry budget for each host.

    python examples/many_hosts.py

No host suffers from another: the one that is down is asked a few times and then left alone, and the one that throttles
is waited for while all others are finished.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import httpx
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    CircuitBreaker,
    CircuitOpen,
    Failed,
    Kind,
    Ok,
    Retry,
    RetryBudget,
    host_of,
    resilient,
    resilient_flow,
)
from resilient_tasks.testing import FaultyServer, Request, Status

requests: Counter[str] = Counter()


@resilient(
    # `host_of` instead of a name: each host has its own budget, limit and circuit.
    retry=Retry(attempts=5, wait=0.3, budget=RetryBudget(host_of, share=0.3, floor=5, per=60)),
    rate_limit=AdaptiveRateLimit(host_of, start=20, per=1),
    # A host that throttles (429) is not down: only other failures and timeouts open its circuit.
    breaker=CircuitBreaker(host_of, min_calls=5, on=[Kind.TRANSIENT, Kind.TIMEOUT]),
    # Concurrent requests to all hosts together. Calls that wait for their host's limit take no slot.
    bulkhead=Bulkhead("crawl", limit=30, queue=500),
    timeout=10,
    idempotent=True,
)
async def fetch(client: httpx.AsyncClient, url: str) -> str:
    requests[host_of(url)] += 1
    response = await client.get(url)
    return response.raise_for_status().text


@resilient_flow
async def crawl(urls: list[str]) -> dict[str, str]:
    """Return the page of each URL that could be fetched."""
    pages: dict[str, str] = {}
    table: dict[str, Counter[str]] = defaultdict(Counter)
    finished: dict[str, float] = {}
    began = time.monotonic()
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
        bar = progress.add_task("fetching", total=len(urls))

        async def one(client: httpx.AsyncClient, url: str) -> None:
            match await fetch.outcome(client, url):
                case Ok(page):
                    pages[url], what = page, "answered"
                case Failed(CircuitOpen()):
                    what = "refused"
                case _:
                    what = "failed"
            table[host_of(url)][what] += 1
            finished[host_of(url)] = time.monotonic() - began
            progress.advance(bar)

        async with httpx.AsyncClient(timeout=8, trust_env=False) as client:
            await asyncio.gather(*(one(client, url) for url in urls))
    show(table, finished)
    return pages


def show(table: dict[str, Counter[str]], finished: dict[str, float]) -> None:
    """Print the results of each host."""
    shown = Table("host", "is", *("answered", "failed", "refused", "requests", "finished"))
    for host, row in sorted(table.items(), key=lambda each: each[1]["answered"]):
        numbers = (row["answered"], row["failed"], row["refused"], requests[host])
        shown.add_row(host, KINDS.get(host, ""), *map(str, numbers), f"{finished[host]:.1f} s")
    Console(width=90).print(shown)


# From here on: 20 hosts on this machine, so that the example runs as it is. Yours is a list of URLs.

KINDS: dict[str, str] = {}
#: If no Prefect server is set, Prefect starts one for the run. A busy machine needs more than its limit of 20 s.
ALONE = {PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120, PREFECT_SERVER_ANALYTICS_ENABLED: False}


def throttling(per_second: int) -> Callable[[Request], Status | None]:
    """Return a schedule that answers 429 to requests beyond this number in a second."""
    accepted: list[float] = []

    def schedule(request: Request) -> Status | None:
        accepted[:] = [at for at in accepted if at > request.time - 1]
        if len(accepted) >= per_second:
            return Status(429, retry_after=1)
        accepted.append(request.time)
        return None

    return schedule


def start_hosts() -> list[FaultyServer]:
    """Start 15 healthy hosts, 3 that fail each fourth request, one that throttles and one that is down."""
    schedules: list[tuple[str, Callable[[Request], Status | None] | None]] = [
        *[("well", None)] * 15,
        *[("flaky", lambda request: None if request.number % 4 else Status(503))] * 3,
        ("throttles", throttling(8)),
        ("down", lambda _: Status(503)),
    ]
    servers = []
    for kind, schedule in schedules:
        servers.append(FaultyServer(lambda request: f"page {request.path}", schedule).start())
        KINDS[host_of(servers[-1].url)] = kind
    return servers


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    logging.disable(logging.ERROR)  # the table replaces hundreds of log lines
    servers = start_hosts()
    urls = [f"{server.url}/{page}" for page in range(25) for server in servers]  # your own URLs here
    if not PREFECT_API_URL.value():
        print("starting a Prefect server, which takes 10 to 60 s ...", file=sys.stderr, flush=True)
    with temporary_settings(ALONE):
        pages = asyncio.run(crawl(urls))
    seen = sum(len(server.requests) for server in servers)
    print(f"{len(pages)} of {len(urls)} pages by {sum(requests.values())} requests; the servers counted {seen}")
    for server in servers:
        server.stop()
