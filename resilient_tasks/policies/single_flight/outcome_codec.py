"""Encodes the outcome of an attempt for the workers that wait for it.

Nothing is unpickled unless the user asks for it, because anyone with write access to the store could then run code.
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


class SentOutcome(NamedTuple):
    """An outcome from another worker.

    Attributes:
        outcome: of the attempt.
        leader: the name of the call that made it.
        stand_in: the fields of the event about the stand-in, for a degraded outcome.
    """

    outcome: Outcome[Any]
    leader: str
    stand_in: dict[str, Any]


def encode(
    outcome: Outcome[Any], leader: str, stand_in: dict[str, Any], serializer: Serializer | str, largest: int
) -> bytes:
    """Return an outcome as bytes, or the reason why it cannot be sent.

    Args:
        outcome: of the attempt. Secrets in an error are redacted.
        leader: the name of the call.
        stand_in: the fields of the event about the stand-in.
        serializer: `"json"`, `"pickle"` or a serializer.
        largest: the most bytes that may be sent.
    """
    try:
        head, value = _parts(outcome, serializer)
        data = _framed({**head, "leader": leader, "stand in": stand_in}, value)
        if len(data) <= largest:
            return data
        why = f"its outcome has {len(data):,} bytes, more than SingleFlight(largest={largest:,}) allows"
    except CannotBeSent as reason:
        why = str(reason)
    return _framed({"is": "kept", "why": why}, b"")


def decode(data: bytes, serializer: Serializer | str) -> SentOutcome:
    """Return the outcome in `data`.

    Raises:
        CannotBeSent: `data` holds the reason why no outcome was sent, or cannot be read.
    """
    try:
        line, _, value = data.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        sent = None if head["is"] == "kept" else _decoded(head, value, serializer)
        why = head.get("why", "")
    except Exception as problem:
        raise CannotBeSent(f"the other worker's outcome cannot be read here ({safely.text(problem)})") from problem
    if sent is None:
        raise CannotBeSent(str(why))
    return sent


def _decoded(head: dict[str, Any], value: bytes, serializer: Serializer | str) -> SentOutcome:
    outcome: Outcome[Any]
    if head["is"] == "ok":
        outcome = Ok(_loaded(value, serializer), int(head["attempts"]))
    elif head["is"] == "degraded":
        outcome = Degraded(_loaded(value, serializer), _error_from(head, serializer))
    else:
        outcome = Failed(_error_from(head, serializer))
    return SentOutcome(outcome, str(head["leader"]), dict(head["stand in"]))


def _framed(head: dict[str, Any], value: bytes) -> bytes:
    return json.dumps(head).encode() + b"\n" + value


def _parts(outcome: Outcome[Any], serializer: Serializer | str) -> tuple[dict[str, Any], bytes]:
    if isinstance(outcome, Ok):
        return {"is": "ok", "attempts": outcome.attempts}, _dumped(outcome.value, serializer)
    if isinstance(outcome, Degraded):
        return {"is": "degraded", **_error_fields(outcome.because, serializer)}, _dumped(outcome.value, serializer)
    return {"is": "failed", **_error_fields(outcome.error, serializer)}, b""


def _dumped(value: Any, serializer: Serializer | str) -> bytes:
    if serializer == "json":
        if (why := _unlike_json(value)) is not None:
            raise CannotBeSent(
                f"JSON cannot hold {why}; where all who write to the store are trusted,"
                ' SingleFlight(shared=True, serializer="pickle") can'
            )
        return json.dumps(value).encode()
    try:
        return _pickled(value) if serializer == "pickle" else bytes(_custom(serializer).dumps(value))
    except Exception as problem:
        raise CannotBeSent(f"{a(type(value).__qualname__)} cannot be sent ({safely.text(problem)})") from problem


def _loaded(data: bytes, serializer: Serializer | str) -> Any:
    if serializer == "json":
        return json.loads(data)
    return _unpickled(data) if serializer == "pickle" else _custom(serializer).loads(data)


def _custom(serializer: Serializer | str) -> Serializer:
    assert not isinstance(serializer, str)  # noqa: S101  # both words are handled before
    return serializer


def _pickled(value: Any) -> bytes:
    from resilient_tasks.subprocess import serialization  # noqa: PLC0415  # only if needed

    return serialization.dumps(value)


def _unpickled(data: bytes) -> Any:
    from resilient_tasks.subprocess import serialization  # noqa: PLC0415  # as above

    return serialization.loads(data)


def _unlike_json(value: Any) -> str | None:
    """Return what in a value JSON would not give back as it was; None if nothing."""
    cls = type(value)
    if cls in _SCALARS:
        return None
    if cls is list:
        return next((why for item in value if (why := _unlike_json(item)) is not None), None)
    if cls is dict:
        if any(type(key) is not str for key in value):
            return "a dict with keys that are not strings"
        return _unlike_json(list(value.values()))
    return a(f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins."))


def _error_fields(error: Exception, serializer: Serializer | str) -> dict[str, Any]:
    """Return the fields that describe an error, without its secrets."""
    if (clean := redacted(error)) is not None:
        safely.mark(clean, JUDGED, judge(error))  # it may have lost its type
        error = clean
    if serializer == "pickle":
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


def _error_from(head: dict[str, Any], serializer: Serializer | str) -> Exception:
    if serializer == "pickle":
        found = _unpickled(bytes.fromhex(head["pickled"]))
        assert isinstance(found, Exception)  # noqa: S101  # else it cannot be read
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
