"""The outcome of an attempt as bytes, for the workers that wait for it.

Nothing is unpickled unless the user asked for it, because everyone who can write to the store could then run code.
"""

from __future__ import annotations

import builtins
import json
from typing import Any, NamedTuple, Protocol

from resilient_tasks import safely
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.errors import ENDED_BY, ResilienceError
from resilient_tasks.core.failures import JUDGED, Judgement, judge
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.wording import a
from resilient_tasks.redaction.exceptions import redacted

_SCALARS = frozenset({type(None), bool, int, float, str})


class Serializer(Protocol):
    """Converts a result to bytes and back. Prefect's serializers and the module `pickle` fit."""

    def dumps(self, value: Any, /) -> bytes:
        """Return the value as bytes."""

    def loads(self, data: bytes, /) -> Any:
        """Return the value that `dumps` converted."""


class CannotBeSent(Exception):
    """A result cannot be sent, so the other workers make the call themselves; the message says why."""


class Parcel(NamedTuple):
    """What was sent.

    Attributes:
        outcome: what came of the attempt.
        leader: the name of the call that it came of.
        stand_in: what an event says of what stood in, for a degraded one.
    """

    outcome: Outcome[Any]
    leader: str
    stand_in: dict[str, Any]


def packed(outcome: Outcome[Any], leader: str, stand_in: dict[str, Any], how: Serializer | str, largest: int) -> bytes:
    """Return what came of an attempt as bytes; if it cannot be sent, why that is so.

    Args:
        outcome: what came of it. Secrets in an error stay here.
        leader: the name of the call.
        stand_in: what an event says of what stood in.
        how: `"json"`, `"pickle"` or a serializer.
        largest: bytes that it may have.
    """
    try:
        head, value = _parts(outcome, how)
        data = _joined({**head, "leader": leader, "stand in": stand_in}, value)
        if len(data) <= largest:
            return data
        why = f"what came of it has {len(data):,} bytes, and SingleFlight(largest={largest:,}) allows no more"
    except CannotBeSent as reason:
        why = str(reason)
    return _joined({"is": "kept", "why": why}, b"")


def opened(data: bytes, how: Serializer | str) -> Parcel:
    """Return what `packed` was given.

    Raises:
        CannotBeSent: it holds only the reason why it was not sent, or something that cannot be read.
    """
    try:
        line, _, value = data.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        parcel = None if head["is"] == "kept" else _opened(head, value, how)
        why = head.get("why", "")
    except Exception as problem:
        raise CannotBeSent(f"what the other worker sent cannot be read here ({safely.text(problem)})") from problem
    if parcel is None:
        raise CannotBeSent(str(why))
    return parcel


def _opened(head: dict[str, Any], value: bytes, how: Serializer | str) -> Parcel:
    outcome: Outcome[Any]
    if head["is"] == "ok":
        outcome = Ok(_loaded(value, how), int(head["attempts"]))
    elif head["is"] == "degraded":
        outcome = Degraded(_loaded(value, how), _error(head, how))
    else:
        outcome = Failed(_error(head, how))
    return Parcel(outcome, str(head["leader"]), dict(head["stand in"]))


def _joined(head: dict[str, Any], value: bytes) -> bytes:
    return json.dumps(head).encode() + b"\n" + value


def _parts(outcome: Outcome[Any], how: Serializer | str) -> tuple[dict[str, Any], bytes]:
    if isinstance(outcome, Ok):
        return {"is": "ok", "attempts": outcome.attempts}, _dumped(outcome.value, how)
    if isinstance(outcome, Degraded):
        return {"is": "degraded", **_told(outcome.because, how)}, _dumped(outcome.value, how)
    return {"is": "failed", **_told(outcome.error, how)}, b""


def _dumped(value: Any, how: Serializer | str) -> bytes:
    if how == "json":
        if (why := _unlike_json(value)) is not None:
            raise CannotBeSent(
                f"JSON cannot hold {why}; where all who write to the store are trusted,"
                ' SingleFlight(shared=True, serializer="pickle") can'
            )
        return json.dumps(value).encode()
    try:
        return _pickled(value) if how == "pickle" else bytes(_of_ones_own(how).dumps(value))
    except Exception as problem:
        raise CannotBeSent(f"{a(type(value).__qualname__)} cannot be sent ({safely.text(problem)})") from problem


def _loaded(data: bytes, how: Serializer | str) -> Any:
    if how == "json":
        return json.loads(data)
    return _unpickled(data) if how == "pickle" else _of_ones_own(how).loads(data)


def _of_ones_own(how: Serializer | str) -> Serializer:
    assert not isinstance(how, str)  # noqa: S101  # the two words were asked for before
    return how


def _pickled(value: Any) -> bytes:
    from resilient_tasks.subprocess import serialization  # noqa: PLC0415  # for those who need it

    return serialization.dumps(value)


def _unpickled(data: bytes) -> Any:
    from resilient_tasks.subprocess import serialization  # noqa: PLC0415  # as above

    return serialization.loads(data)


def _unlike_json(value: Any) -> str | None:
    """Return what of a value would come back as something else; None, if nothing."""
    cls = type(value)
    if cls in _SCALARS:
        return None
    if cls is list:
        return next((why for item in value if (why := _unlike_json(item)) is not None), None)
    if cls is dict:
        if any(type(key) is not str for key in value):
            return "a dict with keys that are no text"
        return _unlike_json(list(value.values()))
    return a(f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins."))


def _told(error: Exception, how: Serializer | str) -> dict[str, Any]:
    """Describe an error, without its secrets."""
    error = redacted(error) or error
    if how == "pickle":
        from resilient_tasks.subprocess import serialization  # noqa: PLC0415  # as above

        return {"pickled": serialization.dump_error(error, "the call in another worker").hex()}
    cls, judged = type(error), judge(error)
    args = safely.own(error, "args")
    plain = cls.__module__ == "builtins" and all(type(arg) in _SCALARS for arg in args)
    return {
        "type": f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins."),
        "args": list(args) if plain else None,
        "text": safely.text(error),
        "notes": list(safely.notes(error)),
        "ended by": safely.marked(error, ENDED_BY),
        "judged": [judged.kind.value, judged.status, judged.wait],
    }


def _error(head: dict[str, Any], how: Serializer | str) -> Exception:
    if how == "pickle":
        found = _unpickled(bytes.fromhex(head["pickled"]))
        assert isinstance(found, Exception)  # noqa: S101  # else it is unreadable
        return found
    cls = getattr(builtins, head["type"], None) if head["args"] is not None else None
    if isinstance(cls, type) and issubclass(cls, Exception):
        error: Exception = cls(*head["args"])
    else:
        error = ResilienceError(f"{head['type']}: {head['text']}")
    for note in head["notes"]:
        safely.note(error, note)
    if ended_by := head.get("ended by"):
        safely.mark(error, ENDED_BY, str(ended_by))
    kind, status, wait = head["judged"]
    safely.mark(error, JUDGED, Judgement(Kind(kind), status, wait))
    return error
