"""Ask Prefect's server for its version and its time."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple, cast

from prefect.client.base import ServerType
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings


class Server(NamedTuple):
    """Prefect's server.

    Attributes:
        url: of its API.
        version: of its Prefect; empty for Prefect Cloud.
        ahead: seconds that its clock is ahead of this machine's, to about a second; None if unknown.
    """

    url: str
    version: str
    ahead: float | None


def url() -> str:
    """Return the URL of the API; empty if none is configured."""
    return str(PREFECT_API_URL.value() or "")


def reach(within: float) -> Server | None:
    """Ask the server; None if no URL is configured.

    Args:
        within: seconds that each request may take.

    Raises:
        httpx.HTTPError: it does not answer, or refuses.
    """
    if not url():
        return None
    # By default the client repeats a request several times, with growing waits.
    once = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
    with once, get_client(sync_client=True, httpx_settings={"timeout": within}) as client:
        sent = time.time()
        health = client.request("GET", cast("any", "/health"))  # type: ignore[valid-type]  # a route that Prefect's list lacks
        half = (sent + time.time()) / 2
        health.raise_for_status()
        version = "" if client.server_type is ServerType.CLOUD else client.api_version()
    return Server(url(), version, _ahead(health.headers.get("date"), half))


def _ahead(date: str | None, now: float) -> float | None:
    """Return how far a Date header, which has whole seconds, is ahead of `now`; 0 within its second."""
    try:
        seconds = parsedate_to_datetime(date or "").timestamp() - now
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else min(0.0, seconds + 1.0)
