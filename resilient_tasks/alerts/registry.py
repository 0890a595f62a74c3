"""The channels that this process knows, by name. Deliveries store a channel's name alone, as channels hold secrets.

A channel's name may change although it is meant to be the same one: its webhook was replaced, or a recipient added. Its
deliveries then go to its successor: the one channel of the same family that the operation names today and that the
incident did not have before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, KeysView

from resilient_tasks.alerts.message import Channel

_known: dict[str, Channel] = {}
_by_operation: defaultdict[str, set[str]] = defaultdict(set)


def register(channel: Channel) -> str:
    """Have this process send what waits for `channel`, and return its name."""
    name = channel.name
    _known[name] = channel
    return name


def register_for(operation: str, channels: Iterable[Channel]) -> None:
    """Register the channels that an operation alerts today."""
    _by_operation[operation].update(map(register, channels))


def names() -> KeysView[str]:
    """Return the names of the channels that this process can send to."""
    return _known.keys()


def channel(name: str) -> Channel | None:
    """Return the channel of this name."""
    return _known.get(name)


def successor(operation: str, name: str, beside: Collection[str] = ()) -> str:
    """Return the name of the channel that replaced `name`, or `name` itself.

    Args:
        operation: the function's name.
        name: the channel's name when the message was written.
        beside: names of all channels of the incident.
    """
    if not name or name in _known or operation not in _by_operation:
        return name
    candidates = [known for known in _by_operation[operation] if _is_family(known, name)]
    new = [known for known in candidates if known not in beside] or candidates
    return new[0] if len(new) == 1 else name


def _is_family(known: str, name: str) -> bool:
    family = getattr(_known.get(known), "family", "")
    return bool(family) and f"{name}:".startswith(family)
