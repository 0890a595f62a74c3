"""The channels that this process knows, by name: letters that wait bear the name alone, for channels hold secrets."""

from __future__ import annotations

from collections.abc import KeysView

from resilient_tasks.notify.message import Channel

_known: dict[str, Channel] = {}


def know(channel: Channel) -> str:
    """Have this process send what waits for `channel`, and return its name."""
    name = channel.name
    _known[name] = channel
    return name


def names() -> KeysView[str]:
    """Return the names of the channels that this process can send to."""
    return _known.keys()


def channel(name: str) -> Channel | None:
    """Return the channel so called."""
    return _known.get(name)
