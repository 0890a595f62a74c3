"""Keep errors of OpenTelemetry, and of what the application adds to it, away from calls."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger("resilient_tasks")
_SILENCE, _silent_until = 60.0, 0.0


def harmless(method: Callable[P, T]) -> Callable[P, T | None]:
    """Make a method log an error instead of raising it, and return None: a span processor of the user's may raise."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return method(*args, **kwargs)
        except Exception:
            if _may_log():
                with contextlib.suppress(Exception):  # the logger's own
                    _logger.exception("OpenTelemetry failed; the call goes on without its span")
            return None

    return call


def _may_log() -> bool:
    """Return true at most once a minute: each call may have the same error."""
    global _silent_until  # noqa: PLW0603  # one a process
    now = time.monotonic()
    if now < _silent_until:
        return False
    _silent_until = now + _SILENCE
    return True
