"""Let Prefect clients that are created during a run wait for an unreachable server, as older clients do.

Prefect retries a refused request only if the same client has had an answer before, so that a wrong address is noticed
at once. Subflows, artifacts and tags each create a new client, which would give up at the first refusal. Within a run
the address is known to be right: the server there created the run.
"""

from __future__ import annotations

from typing import Any

from prefect.client import base
from prefect.context import FlowRunContext, TaskRunContext

from resilient_tasks.prefect import undocumented


class HasConnected:
    """The attribute by which Prefect's clients decide whether to retry a refused request."""

    def __get__(self, client: Any, kind: type[Any] | None = None) -> Any:
        """Return whether the client has had an answer, or is used within a run."""
        if client is None:
            return self
        had_one: bool = vars(client).get("_has_connected", False)
        return had_one or FlowRunContext.get() is not None or TaskRunContext.get() is not None

    def __set__(self, client: Any, value: object) -> None:
        """Record whether the client has had an answer."""
        vars(client)["_has_connected"] = value


def install() -> None:
    """Replace the attribute of Prefect's clients."""
    for name in ("PrefectHttpxSyncClient", "PrefectHttpxAsyncClient"):
        kind = getattr(base, name, None)
        if kind is None or "_has_connected" not in kind.send.__code__.co_names:
            undocumented.warn_once(undocumented.HAS_CONNECTED)
        else:
            kind._has_connected = HasConnected()  # noqa: SLF001  # there is no public way
