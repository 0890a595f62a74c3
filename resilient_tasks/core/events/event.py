"""What an event is, and which run it belongs to.

Field names follow OpenTelemetry's conventions where those have one: `Event.as_dict()` gives `error.type`,
`exception.message` and `retry.delay_s` for the attributes `error_type`, `message` and `delay`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

#: Every event by its name, for tools that read `events.jsonl` back.
EVENTS: dict[str, type[Event]] = {}

_identify: Callable[[], Mapping[str, str]] = dict


def identify_runs_by(provider: Callable[[], Mapping[str, str]]) -> None:
    """Have every event bear the ids of the run it happens in (`flow_run_id`, `task_run_id`, ...)."""
    global _identify  # noqa: PLW0603  # one orchestrator a process
    _identify = provider


def run_ids() -> Mapping[str, str]:
    """Return the ids of the run that this code is part of; empty outside of any."""
    return _identify()


def named(name: str) -> Any:
    """Give a field the name that `as_dict()` calls it by."""
    return field(metadata={"name": name})


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened: `operation` is the function, `attempt` counts from 1, `time` is in unix seconds."""

    name: ClassVar[str] = ""
    level: ClassVar[int] = logging.WARNING

    operation: str
    attempt: int = 1
    call: str = ""
    time: float = field(default_factory=time.time)
    run: Mapping[str, str] = field(default_factory=run_ids)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # dataclass(slots=True) builds the class a second time, and the second is the one that lasts.
        super(Event, cls).__init_subclass__(**kwargs)
        if cls.name:
            EVENTS[cls.name] = cls

    def as_dict(self) -> dict[str, Any]:
        """Return the event as a flat mapping that JSON can hold, its run ids merged in."""
        named = {part.metadata.get("name", part.name): getattr(self, part.name) for part in fields(self)}
        return {"event.name": self.name, **named.pop("run"), **named}

    def sentence(self) -> str:
        """Say in one line what happened."""
        return self.name


def counted(errors: Mapping[str, int]) -> str:
    """Join counts of errors into the form `ConnectError ×2, TimedOut`."""
    return ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in errors.items())
