"""Checks of what is elsewhere: channels, without sending a message, and Prefect's server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from resilient_tasks.alerts import gate, registry
from resilient_tasks.cli.checks.finding import Check, Finding, ok, problem, skipped, warning
from resilient_tasks.cli.checks.stores import skew
from resilient_tasks.cli.importing import module_named
from resilient_tasks.cli.printing import UsageError
from resilient_tasks.core import policy_file
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.failures import describe
from resilient_tasks.decorators import named

#: Seconds more for a check that imports Prefect.
IMPORTING = 30.0


def modules(names: Sequence[str]) -> Iterator[Finding]:
    """Import the modules whose decorators name the channels."""
    for name in names:
        try:
            module_named(name, name)
        except UsageError as error:
            yield problem(str(error).removesuffix("."), "correct --module, or the module")
        else:
            yield ok(f"{name} can be imported")


def channels(within: float) -> list[Check]:
    """Return a check of each channel that this process knows: of the environment, of policies in a file, of modules."""
    known = _known_channels()
    if not known:
        text = "none is known here: name the module whose decorators use them with --module"
        return [Check("channels", lambda: skipped(text), within)]
    return [Check("channel", lambda one=one: _reached(one, within), within) for one in known.values()]  # type: ignore[misc]  # a default binds it


def _known_channels() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in _of_file():
        found[one.name] = one
    if os.environ.get("SLACK_WEBHOOK_URL"):
        from resilient_tasks.alerts.channels.slack import Slack  # noqa: PLC0415  # only where it is used

        found.setdefault("slack", Slack())
    for name in sorted(registry.names()):
        found[name] = registry.channel(name)
    return found


def _of_file() -> Iterator[Any]:
    try:
        tables = policy_file.found()
        policies = () if tables is None else tuple(tables.policies)
    except PolicyError:  # reported with the configuration
        return
    for name in policies:
        try:
            notify = named.keywords_of(name).options.get("notify")
        except PolicyError:
            continue
        if notify is not None:
            yield from (route.to for route in notify.channels)


def _reached(channel: Any, within: float) -> Finding:
    name = channel.name
    if gate.is_off() or not gate.takes(channel):
        return skipped("channels are off", name)
    if getattr(channel, "stays_in_this_process", False):
        return ok("prints in this process", name)
    if not hasattr(channel, "reach"):
        return skipped("cannot be checked without sending a message", name)
    try:
        return ok(channel.reach(within=within), name)
    except PolicyError as error:
        return problem(str(error), "write what is missing", name)
    except Exception as error:
        return problem(describe(error), _ADVICE.get(type(channel).__name__, "correct its address"), name)


_ADVICE = {
    "Slack": "correct its token or webhook, and its scope chat:write; or see that the network lets it through",
    "Email": "correct host=, port= and the login; or see that the network lets it through",
    "Webhook": "correct its URL; or see that the network lets it through",
}


def prefect(within: float) -> Iterator[Finding]:
    """Check that Prefect's server answers, that its version fits, and that its clock agrees."""
    from resilient_tasks.prefect import server  # noqa: PLC0415  # Prefect takes seconds to import

    own = metadata.version("prefect")
    try:
        found = server.reach(within)
    except Exception as error:
        advice = "start it (`prefect server start`), or correct PREFECT_API_URL and its key"
        yield problem(f"{server.url()} does not answer: {describe(error)}", advice)
        return
    if found is None:
        yield skipped("PREFECT_API_URL is not set: each process starts a server of its own")
        return
    if found.version and _major_minor(found.version) < _major_minor(own):
        text = f"the server at {found.url} has Prefect {found.version}, and this environment {own}"
        yield warning(text, f"upgrade the server to {own} or newer")
    elif found.version and _major_minor(found.version)[0] != _major_minor(own)[0]:
        yield problem(f"the server at {found.url} has Prefect {found.version}, and this environment {own}", "use one")
    else:
        yield ok(f"{found.url} answers, with Prefect {found.version or 'Cloud'}; this environment has {own}")
    if found.ahead is not None:
        yield skew(found.ahead, "Prefect's server")


def _major_minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
