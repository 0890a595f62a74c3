"""What an event is, and which run it belongs to.

Field names follow OpenTelemetry's conventions where those have one: `Event.as_dict()` gives `error.type`,
`exception.message` and `retry.delay_s` for the attributes `error_type`, `message` and `delay`.

An event holds no secret, and no text that a terminal would obey: its sinks may write it down as it is.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, dataclass_transform

from resilient_tasks import core
from resilient_tasks.core import host, settings
from resilient_tasks.core import real_time as time
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.core.wording import in_brief, worded

if TYPE_CHECKING:
    from resilient_tasks.core.registered import Secret

#: Every event by its name, for tools that read `events.jsonl` back.
EVENTS: dict[str, type[Event]] = {}


def run_ids() -> Mapping[str, str]:
    """Return the ids of the run that this code is part of; empty outside of any."""
    return host.current.run()


def named(name: str) -> Any:
    """Give a field the name that `as_dict()` calls it by."""
    return field(metadata={"name": name})


#: What is written in programs, or made by this library; what stands in `run` is the same for many events.
_CODE = frozenset({"operation", "call", "of", "attempt", "time", "kind", "error_type", "policy", "action", "run"})
_NUMBERS = frozenset({int, float, bool, type(None)})


@dataclass(frozen=True, init=False, repr=False, eq=False)
class _Frozen:
    """Has `dataclass`, which a user's event may bear, take every event for a frozen dataclass."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field, named))
class _Record(_Frozen):
    """Makes each subclass a frozen dataclass that takes its fields by name.

    What `dataclass` would write and compile for each of them is written once, here: of thirty events, that was most of
    what their import took. `_shadow` is a class without code, of which `dataclass` says what the fields are.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    _shadow: ClassVar[type] = object
    _names: ClassVar[frozenset[str]]
    _defaults: ClassVar[Mapping[str, Any]]
    _made: ClassVar[Mapping[str, Callable[[], Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__dataclass_fields__" in vars(cls):  # `dataclass(slots=True)` of a user's builds the class a second time
            return
        kinds = inspect.get_annotations(cls)
        body = {name: vars(cls)[name] for name in kinds if name in vars(cls)}
        body |= {"__annotations__": kinds, "__module__": cls.__module__, "__doc__": cls.__name__}
        shadow = type(cls.__name__, (cls._shadow,), body)
        made: Any = dataclass(init=False, repr=False, eq=False, match_args=False, kw_only=True)(shadow)
        cls._shadow, cls.__dataclass_fields__ = made, made.__dataclass_fields__
        parts = fields(made)
        cls._names = frozenset(part.name for part in parts)
        cls._defaults = {part.name: part.default for part in parts if part.default is not MISSING}
        cls._made = {part.name: part.default_factory for part in parts if part.default_factory is not MISSING}

    def __init__(self, **given: Any) -> None:
        values = vars(self)
        values.update(self._defaults)
        values.update(given)
        for name, make in self._made.items():
            if name not in given:
                values[name] = make()
        if values.keys() != (names := self._names):
            wrong = {"it lacks": names - values.keys(), "it has no": values.keys() - names}
            said = "; ".join(f"{what} {', '.join(sorted(which))}" for what, which in wrong.items() if which)
            raise TypeError(f"{type(self).__name__}: {said}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Bring the values into the form in which they are kept."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # the ids of its run are a mapping

    def __repr__(self) -> str:
        values = ", ".join(f"{part.name}={getattr(self, part.name)!r}" for part in fields(self))
        return f"{type(self).__qualname__}({values})"


class Event(_Record):
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
            if type(value) not in _NUMBERS and (cleaned := core.cleaned.clean(value)) is not value:
                value = cleaned
                object.__setattr__(self, name, value)
            if type(value) is str and (shown := for_terminal(value)) is not value:
                object.__setattr__(self, name, shown)
        if self.run:
            object.__setattr__(self, "run", dict(_clean_run(tuple(self.run.items()), settings.current.secrets)))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
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
    return tuple((name, _shown(core.cleaned.clean(value))) for name, value in run)


def _shown(value: Any) -> Any:
    return for_terminal(value, lines=False) if isinstance(value, str) else value


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


class FailureEvent(ErrorEvent):
    """Something that happened because a call failed, or an attempt of it.

    Where a call inside raised that very error, and told of it, `of` is the `call` of its event.
    """

    of: str | None = field(default=None, metadata={"name": "failure.of", "if_known": True})
