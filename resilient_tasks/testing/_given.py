"""Checks of the arguments that tests pass to the servers: a mistake raises at the call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.testing.faults import Fault

#: As a number of requests, these are status codes by mistake.
_STATUS = frozenset({400, 401, 403, 404, 408, 409, 410, 422, 429, 500, 501, 502, 503, 504})


def check_times(times: object, method: str) -> None:
    """Raise `PolicyError` unless `times` is a number of requests.

    Args:
        times: the argument.
        method: the method's name.
    """
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        number = int(times) if isinstance(times, str) and times.strip().isdecimal() else 2
        msg = f"{method}(times) is a number of requests, 0 or more, not {times!r}: write {method}(times={number})"
        raise PolicyError(msg)
    if times in _STATUS:
        msg = (
            f"{method}(times={times}) would last for {times} requests: for the status {times} write"
            f" fail(Status({times})), for {times} requests fail(*[Status(503)] * {times})"
        )
        raise PolicyError(msg)


def check_path(path: object, method: str) -> None:
    """Raise `PolicyError` unless `path` is None or can match a request."""
    if path is None:
        return
    if not isinstance(path, str):
        raise PolicyError(f"{method}(path=...) is a path such as '/flights' or '/api/*', not {path!r}")
    if not path.startswith(("/", "*", "[")):
        bare = "/" + (path.partition("://")[2].partition("/")[2] if "://" in path else path)
        raise PolicyError(f"{method}(path={path!r}) matches no request: a path begins with a slash; write {bare!r}")
    if "=" in path.partition("?")[2]:
        bare = path.partition("?")[0]
        raise PolicyError(f"{method}(path={path!r}) matches no request: a path has no query here; write {bare!r}")


def numbers_and_share(on: object, share: object) -> tuple[int, ...] | float:
    """Return the numbers of requests, or the share of them, that `fail` is to hit.

    Raises:
        PolicyError: both are given, or one is impossible.
    """
    if on is not None and share is not None:
        raise PolicyError("fail(on=..., share=...) takes one of the two: call fail twice for both")
    if on is None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise PolicyError(f"fail(share=...) is a probability from 0 to 1, not {share!r}: write share=0.2")
        return float(share)
    numbers = (on,) if isinstance(on, int) else tuple(on) if isinstance(on, Iterable) else ()
    if not numbers or any(isinstance(number, bool) or not isinstance(number, int) or number < 1 for number in numbers):
        msg = f"fail(on=...) is the number of a request, from 1 on, or several, not {on!r}: write on=2 or on=[2, 4]"
        raise PolicyError(msg)
    return numbers


def check_faults(faults: tuple[object, ...]) -> None:
    """Raise `PolicyError` unless there are faults, and only faults."""
    if not faults:
        raise PolicyError(f"fail() needs a fault: {_FAULTS}")
    for fault in faults:
        if not isinstance(fault, get_args(Fault)):
            raise PolicyError(f"fail(...) takes faults, not {_named(fault)}: {_instead(fault)}")


_FAULTS = "write fail(Status(503)), or fail(Slow(2), Reset()) for two requests"


def _named(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else repr(value)


def _instead(given: object) -> str:  # noqa: PLR0911  # one line per kind
    if isinstance(given, str) and given.strip().isdecimal():
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        if 200 <= given <= 599:
            return f"write fail(Status({given}))" + (", or down() for one 503" if given == 503 else "")
        return f"write down({given}) for {given} answers of 503, or fail(*[Status(500)] * {given})"
    if isinstance(given, list | tuple):
        return "write fail(*faults), one fault a request"
    if isinstance(given, type) and given in get_args(Fault):
        return f"write fail({given.__name__}(...))"
    if isinstance(given, Exception) or (isinstance(given, type) and issubclass(given, Exception)):
        return "a server sends no exception; write fail(Reset()), fail(Hang(5)) or fail(Status(503))"
    if callable(given):
        return "write fail_by(...) for a function of the request"
    return _FAULTS


def check_choices(choices: tuple[object, ...]) -> None:
    """Raise `PolicyError` unless each is a function of the request."""
    for choice in choices:
        if not callable(choice) or isinstance(choice, type):
            msg = f"fail_by(...) takes functions of the request that return a fault or None, not {_named(choice)}"
            raise PolicyError(msg)


def check_asked(asked: object, where: str) -> None:
    """Raise `PolicyError` unless `asked` is None, or a function of the request."""
    if asked is not None and (not callable(asked) or isinstance(asked, type)):
        raise PolicyError(f"{where} is a function of the request, not {_named(asked)}")


def text(value: object, where: str, such_as: str) -> str:
    """Return `value`.

    Raises:
        PolicyError: it is not a text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise PolicyError(f"{where} is a text such as {such_as!r}, not {value!r}")
    return value


def check_port(port: object, what: str) -> None:
    """Raise `PolicyError` unless this is a port, or 0."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536:
        raise PolicyError(f"{what} is a port from 1 to 65535, or 0 for a free one, not {port!r}")
