"""What an event is, and which run it belongs to.

Field names follow OpenTelemetry's conventions where those have one: `Event.as_dict()` gives `error.type`,
`exception.message` and `retry.delay_s` for the attributes `error_type`, `message` and `delay`.

An event holds no secret, and no text that a terminal would obey: its sinks may write it down as it is.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar

from resilient_tasks.core import host, settings
from resilient_tasks.core import real_time as time
from resilient_tasks.core.cleaned import clean
from resilient_tasks.core.registered import Secret
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.core.wording import in_brief, worded

#: Every event by its name, for tools that read `events.jsonl` back.
EVENTS: dict[str, type[Event]] = {}


def run_ids() -> Mapping[str, str]:
    """Return the ids of the run that this code is part of; empty outside of any."""
    return host.current.run()


def named(name: str) -> Any:
    """Give a field the name that `as_dict()` calls it by."""
    return field(metadata={"name": name})


#: What is written in programs, or made by this library; what stands in `run` is the same for many events.
_CODE = frozenset({"operation", "call", "attempt", "time", "kind", "error_type", "policy", "action", "run"})
_NUMBERS = frozenset({int, float, bool, type(None)})


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

    def __post_init__(self) -> None:
        for name in _texts_of(type(self)):
            value = getattr(self, name)
            if type(value) not in _NUMBERS and (cleaned := clean(value)) is not value:
                value = cleaned
                object.__setattr__(self, name, value)
            if type(value) is str and (shown := for_terminal(value)) is not value:
                object.__setattr__(self, name, shown)
        if self.run:
            object.__setattr__(self, "run", dict(_clean_run(tuple(self.run.items()), settings.current.secrets)))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # dataclass(slots=True) builds the class a second time, and the second is the one that lasts.
        super(Event, cls).__init_subclass__(**kwargs)
        if cls.name:
            EVENTS[cls.name] = cls

    @property
    def severity(self) -> int:
        """The level of this event's log line."""
        return self.level

    def as_dict(self) -> dict[str, Any]:
        """Return the event as a flat mapping that JSON can hold, its run ids merged in."""
        named = {part.metadata.get("name", part.name): getattr(self, part.name) for part in _known_fields(self)}
        return {"event.name": self.name, **named.pop("run"), **named}

    def sentence(self) -> str:
        """Say in one line what happened."""
        return self.name


def _known_fields(event: Event) -> Iterator[Field[Any]]:
    """Yield the fields of `event`, but for those that a convention leaves out where nothing is known."""
    for part in fields(event):
        if "if_known" not in part.metadata or getattr(event, part.name) is not None:
            yield part


_texts: dict[type[Event], tuple[str, ...]] = {}


def _texts_of(event: type[Event]) -> tuple[str, ...]:
    """Return the names of the fields in which a secret could stand."""
    if event not in _texts:
        _texts[event] = tuple(part.name for part in fields(event) if part.name not in _CODE)
    return _texts[event]


@functools.lru_cache(512)
def _clean_run(run: tuple[tuple[str, str], ...], _secrets: tuple[Secret, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _shown(clean(value))) for name, value in run)


def _shown(value: Any) -> Any:
    return for_terminal(value, lines=False) if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorEvent(Event):
    """Something that happened because of an error: its type, its text, and its HTTP status, if any."""

    error_type: str = named("error.type")
    message: str = named("exception.message")
    http_status: int | None = field(default=None, metadata={"name": "http.response.status_code", "if_known": True})

    @property
    def error(self) -> str:
        """The error in a few words: `HTTPStatusError (HTTP 503)`."""
        return worded(self.error_type, self.http_status)

    @property
    def error_in_brief(self) -> str:
        """The error as it is counted: `HTTP 503`, or its type."""
        return in_brief(self.error_type, self.http_status)
