"""The base class of events.

Field names follow OpenTelemetry's conventions if they define one: `Event.as_dict()` returns `error.type`,
`exception.message` and `retry.delay_s` for the attributes `error_type`, `message` and `delay`.

An event holds no secret and no terminal control sequence: sinks may write it as it is.
"""

from __future__ import annotations

import functools
import inspect
import logging
import operator
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, dataclass_transform

from resilient_tasks import redaction
from resilient_tasks.core import host, settings
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.core.wording import in_brief, label
from resilient_tasks.redaction.patterns import compiled
from resilient_tasks.safely import of_class

if TYPE_CHECKING:
    from resilient_tasks.redaction.registered import Secret

#: Every event by its name, for tools that read `events.jsonl` back.
EVENTS: dict[str, type[Event]] = {}


def run_ids() -> Mapping[str, str]:
    """Return the ids of the current run; empty outside of a run."""
    return host.current.run()


def now() -> float:
    """Return the time in unix seconds. Event classes that are pickled by value refer to this function by name."""
    return time.time()


def named(name: str) -> Any:
    """Define a field with another name in `as_dict()`."""
    return field(metadata={"name": name})


def duration() -> Any:
    """Define the field `seconds`: how long an attempt or a call took; None if its start is unknown."""
    return field(default=None, metadata={"name": "duration_s", "if_known": True})


#: Fields that this library fills, and `run`, which is the same for many events and is redacted separately.
_CODE = frozenset({"call", "of", "attempt", "time", "kind", "policy", "action", "run"})
_NUMBERS = frozenset({int, float, bool, type(None)})
_OF_NUMBERS = compiled(r"(?:int|float|bool)(?: \| None)?")


@dataclass(frozen=True, init=False, repr=False, eq=False)
class _Frozen:
    """Makes `dataclass`, which a user may apply to an event, treat every event as a frozen dataclass."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field, named))
class _Record(_Frozen):
    """Makes each subclass a frozen dataclass that takes its fields by name.

    The methods that `dataclass` would generate and compile for each of them are written once, here: for thirty events,
    that took most of their import time. `_shadow` is a class without code, from which `dataclass` derives the fields.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    _shadow: ClassVar[type] = object
    _names: ClassVar[frozenset[str]]
    _defaults: ClassVar[Mapping[str, Any]]
    _made: ClassVar[Mapping[str, Callable[[], Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__dataclass_fields__" in vars(cls):  # a user's `dataclass(slots=True)` builds the class a second time
            return
        kinds = inspect.get_annotations(cls)
        body = {name: vars(cls)[name] for name in kinds if name in vars(cls)}
        body |= {"__annotations__": kinds, "__module__": cls.__module__, "__doc__": cls.__name__}
        shadow = type(cls.__name__, (cls._shadow,), body)
        made: Any = dataclass(init=False, repr=False, eq=False, match_args=False, kw_only=True)(shadow)
        cls._shadow, cls.__dataclass_fields__ = made, made.__dataclass_fields__
        parts = fields(made)
        cls._names = frozenset(part.name for part in parts)
        # By type: in a process that unpickled a subclass by value, `MISSING` is a copy in the fields of its bases.
        missing = type(MISSING)
        cls._defaults = {part.name: part.default for part in parts if type(part.default) is not missing}
        cls._made = {part.name: part.default_factory for part in parts if callable(part.default_factory)}

    def __init__(self, **given: Any) -> None:
        values = vars(self)
        values.update(self._defaults)
        values.update(given)
        for name, make in self._made.items():
            if name not in given:
                values[name] = make()
        if values.keys() != (names := self._names):
            wrong = {"missing": names - values.keys(), "unknown": values.keys() - names}
            details = "; ".join(f"{what} {', '.join(sorted(which))}" for what, which in wrong.items() if which)
            raise TypeError(f"{type(self).__name__}: {details}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Normalize the values."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # the ids of its run are a mapping

    def __repr__(self) -> str:
        values = ", ".join(f"{part.name}={getattr(self, part.name)!r}" for part in fields(self))
        return f"{type(self).__qualname__}({values})"


class Event(_Record):
    """Base class of events: `operation` is the function's name, `attempt` counts from 1, `time` is in unix seconds."""

    name: ClassVar[str] = ""
    level: ClassVar[int] = logging.WARNING
    #: The highest level of the class's events.
    loudest: ClassVar[int] = logging.WARNING

    operation: str
    attempt: int = 1
    call: str = ""
    time: float = field(default_factory=now)
    run: Mapping[str, str] = field(default_factory=run_ids)

    def __post_init__(self) -> None:
        for name in _texts_of(type(self)):
            value = getattr(self, name)
            if type(value) not in _NUMBERS and (fit := fit_to_show(value)) is not value:
                object.__setattr__(self, name, fit)
        if self.run:
            object.__setattr__(self, "run", dict(_clean_run(tuple(self.run.items()), settings.current.secrets)))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "loudest" not in vars(cls):
            cls.loudest = cls.level if cls.severity is Event.severity else logging.CRITICAL
        if cls.name:
            EVENTS[cls.name] = cls

    @property
    def severity(self) -> int:
        """The level of this event's log line."""
        return self.level

    def as_dict(self) -> dict[str, Any]:
        """Return the event as a flat mapping for JSON, with its run ids."""
        names, values, only_if_known = _fields_of(type(self))
        found = {"event.name": self.name, **self.run, **dict(zip(names.values(), values(self), strict=True))}
        for name in only_if_known:
            if found[names[name]] is None:
                del found[names[name]]
        return found

    def in_order(self) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Return the names and values of `as_dict()`, sorted by name, without the time and the run."""
        _, _, only_if_known = _fields_of(type(self))
        left_out = [name for name in only_if_known if getattr(self, name) is None]
        names, values = _in_order(type(self), *left_out)  # type: ignore[arg-type]  # only its objects have no hash
        return names, values(self)

    def sentence(self) -> str:
        """Describe the event in one line."""
        return self.name


def names_of_fields(event: type[Event]) -> Mapping[str, str]:
    """Return the names in `as_dict()` of the fields of a class, except `run`, by field."""
    return _fields_of(event)[0]


@of_class
def _fields_of(event: type[Event]) -> tuple[dict[str, str], Callable[[Event], tuple[Any, ...]], list[str]]:
    """Return the names in `as_dict()` of all fields except `run`, a getter of their values, and the optional fields.

    An optional field is left out if it is None, as OpenTelemetry's conventions require.
    """
    own = {part.name: part for part in fields(event) if part.name != "run"}
    names = {name: part.metadata.get("name", name) for name, part in own.items()}
    return names, operator.attrgetter(*names), [name for name, part in own.items() if "if_known" in part.metadata]


@functools.lru_cache(128)
def _in_order(event: type[Event], *left_out: str) -> tuple[tuple[str, ...], Callable[[Event], tuple[Any, ...]]]:
    names = {"name": "event.name", **_fields_of(event)[0]}
    pairs = sorted((shown, name) for name, shown in names.items() if name not in {"time", *left_out})
    return tuple(shown for shown, _ in pairs), operator.attrgetter(*(name for _, name in pairs))


@of_class
def _texts_of(event: type[Event]) -> tuple[str, ...]:
    """Return the names of the fields that may hold a secret."""
    ours = event.__module__.startswith("resilient_tasks.")  # then a numeric field holds numbers
    parts = (part for part in fields(event) if part.name not in _CODE)
    return tuple(part.name for part in parts if not (ours and _OF_NUMBERS.fullmatch(str(part.type))))


#: A service that is down repeats its error text: the number and greatest length of cached texts.
_KEPT, _LONGEST = 256, 400


def fit_to_show(value: Any) -> Any:
    """Return `value` redacted; a text also with terminal control sequences escaped."""
    if type(value) is str and len(value) <= _LONGEST:
        return _fit(value, settings.current.secrets)
    cleaned = redaction.values.clean(value)
    return for_terminal(cleaned) if type(cleaned) is str else cleaned


@functools.lru_cache(_KEPT)
def _fit(text: str, _secrets: tuple[Secret, ...]) -> str:
    return for_terminal(redaction.values.clean(text))


@functools.lru_cache(512)
def _clean_run(run: tuple[tuple[str, str], ...], _secrets: tuple[Secret, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _shown(redaction.values.clean(value))) for name, value in run)


def _shown(value: Any) -> Any:
    return for_terminal(value, lines=False) if isinstance(value, str) else value


class ErrorEvent(Event):
    """An event about an error: its type, its text, and its HTTP status, if any."""

    error_type: str = named("error.type")
    message: str = named("exception.message")
    http_status: int | None = field(default=None, metadata={"name": "http.response.status_code", "if_known": True})

    @property
    def error(self) -> str:
        """The error's label: `HTTPStatusError (HTTP 503)`."""
        return label(self.error_type, self.http_status)

    @property
    def error_in_brief(self) -> str:
        """The form in which the error is counted: `HTTP 503`, or its type."""
        return in_brief(self.error_type, self.http_status)


class FailureEvent(ErrorEvent):
    """An event about a failed call or attempt.

    If an inner call raised and reported the same error, `of` is the `call` of that event. `seconds` is the time from
    the start of the attempt, or of the call if the event is about a whole call; None if the start is unknown.
    """

    of: str | None = field(default=None, metadata={"name": "failure.of", "if_known": True})
    seconds: float | None = duration()
