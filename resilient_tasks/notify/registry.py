"""The channels that this process knows, by name: letters that wait bear the name alone, for channels hold secrets.

A name may change although the channel is meant to be the same: a webhook was replaced, a recipient added. What waits
under the old name goes to the heir: the one channel of that family which the same operation names today, and which the
incident has not had all along.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, KeysView

from resilient_tasks.notify.message import Channel

_known: dict[str, Channel] = {}
_by_operation: defaultdict[str, set[str]] = defaultdict(set)


def know(channel: Channel) -> str:
    """Have this process send what waits for `channel`, and return its name."""
    name = channel.name
    _known[name] = channel
    return name


def know_for(operation: str, channels: Iterable[Channel]) -> None:
    """Have this process know the channels that an operation names today."""
    _by_operation[operation].update(map(know, channels))


def names() -> KeysView[str]:
    """Return the names of the channels that this process can send to."""
    return _known.keys()


def channel(name: str) -> Channel | None:
    """Return the channel so called."""
    return _known.get(name)


def heir(operation: str, name: str, beside: Collection[str] = ()) -> str:
    """Return the name under which messages of `operation` reach what was called `name`: as a rule, `name` itself.

    Args:
        operation: the function's name.
        name: the channel's, as it was when the message was written.
        beside: names of all channels that hear of the same incident.
    """
    if not name or name in _known or operation not in _by_operation:
        return name
    heirs = [known for known in _by_operation[operation] if _is_family(known, name)]
    new = [known for known in heirs if known not in beside] or heirs
    return new[0] if len(new) == 1 else name


def _is_family(known: str, name: str) -> bool:
    family = getattr(_known.get(known), "family", "")
    return bool(family) and f"{name}:".startswith(family)
