"""Part (b): errors of real libraries, raised by a resilient function, and which of their secrets become visible.

This searches what others see: the events as shown and as written, the log lines, and the error that Prefect gets, as
printed and as pickled.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
from cases import CHOSEN, RANDOM, Case, Maker, secrets_of
from contexts import spelled
from raisers import ANY, MACHINE_MADE

from resilient_tasks import Retry, resilient
from resilient_tasks.core.events import bus
from resilient_tasks.redaction.exceptions import redacted

_NAMES = ("password", "db_password", "api_key", "secret", "auth_token", "client_secret")
_BY_ERROR = 12
#: Characters that URLs and headers hold unescaped.
_PLAIN = {kind: RANDOM[kind] for kind in ("letters and digits", "hexadecimal")}


def raised(raising: Callable[[str, str], Any], name: str, secret: str) -> tuple[BaseException, str]:
    """Return the error that is raised, and everything that others see of it."""
    events: list[Any] = []
    records = _Lines()

    @resilient(retry=Retry(attempts=2, wait=0))
    def load() -> None:
        raising(name, secret)

    logger = logging.getLogger("resilient_tasks")
    before, logger.propagate = logger.propagate, False
    logger.addHandler(records)
    try:
        with bus.listening(events.append):
            load()
    except Exception as error:
        return error, "\n".join((*map(_shown, events), *records.lines, *_as_prefect_keeps(error)))
    finally:
        logger.propagate = before
        logger.removeHandler(records)
    raise AssertionError("it did not fail")


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def _shown(event: Any) -> str:
    return f"{event.sentence()}\n{json.dumps(event.as_dict(), default=repr)}\n{event!r}"


def _as_prefect_keeps(error: BaseException) -> Iterator[str]:
    kept = redacted(error) or error
    with contextlib.suppress(Exception):
        yield "".join(traceback.format_exception_only(kept))
    yield f"{kept!r}\n{vars(kept)!r}"
    try:
        yield cloudpickle.dumps(kept).decode("utf-8", "replace")
    except Exception:
        yield pickle.dumps(str(kept)).decode("utf-8", "replace")


def cases() -> Iterator[tuple[Case, str]]:
    """Raise every error with secrets of several kinds, and yield each case with what others see of it."""
    for group, kinds in ((MACHINE_MADE, _PLAIN), (ANY, {**CHOSEN, **RANDOM})):
        for key, raising in group.items():
            make = Maker(key)
            secrets = secrets_of(make, kinds)
            for _ in range(_BY_ERROR):
                kind, secret = next(secrets)
                name = make.random.choice(_NAMES)
                error, seen = raised(raising, name, secret)
                text = f"{type(error).__name__} with {name}: {error}"
                yield Case(key, kind, secret, tuple({secret, *spelled(secret)}), text), seen
