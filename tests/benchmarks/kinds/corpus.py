"""What a case is, how it is raised, and which libraries are held out.

A case brings its client to fail (`raised`), or makes the library's own error with the arguments that the library's code
gives it (`built`). Its `error` names the class that has to come: a case that brings another one says nothing of the
classifier, and counts as not raised.
"""

import asyncio
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import iscoroutine
from typing import Any

from resilient_tasks import Kind

TRANSIENT, THROTTLED, TIMEOUT = Kind.TRANSIENT, Kind.THROTTLED, Kind.TIMEOUT
MALFORMED, PERMANENT, RESOURCE = Kind.MALFORMED, Kind.PERMANENT, Kind.RESOURCE
RETRIED = frozenset({TRANSIENT, THROTTLED, TIMEOUT})  # by a `Retry` that names no other kinds
BUSY = frozenset({TRANSIENT, THROTTLED})  # full or overloaded for now: either word is right, and both are retried
LATE = frozenset({TRANSIENT, TIMEOUT})  # cut off for taking too long, further away
UNFIT = frozenset({MALFORMED, PERMANENT})  # data that is refused: either word is right, and neither is retried

LIMIT = 15  # seconds for one case, the import of its library included


@dataclass(frozen=True)
class Case:
    """One error of one library, and its expected kind."""

    library: str
    error: str
    what: str
    wanted: frozenset[Kind]
    reason: str
    fail: Callable[[], Any]
    built: bool = False

    @property
    def name(self) -> str:
        return f"{self.library}: {self.error}, {self.what}"

    @property
    def retried(self) -> bool:
        return self.wanted <= RETRIED

    @property
    def held_out(self) -> bool:
        """Return whether the library is in the held-out third, which is hidden while the classifier is tuned."""
        number = zlib.crc32(self.library.encode())
        return number % 3 == 0 or number % 4 == 0


CASES: list[Case] = []


class NotRaised(Exception):
    """A case did not raise its error."""


class _Stuck(BaseException):
    """A case took too long. No client swallows it."""


def case(
    library: str, error: str, what: str, wanted: Kind | frozenset[Kind], reason: str, *, built: bool = False
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Add a function to the cases: it raises the error, or returns it; a coroutine function is run."""

    def add(fail: Callable[[], Any]) -> Callable[[], Any]:
        CASES.append(
            Case(library, error, what, frozenset({wanted}) if isinstance(wanted, Kind) else wanted, reason, fail, built)
        )
        return fail

    return add


def error_of(case: Case) -> BaseException:
    """Run the case and return its error.

    Raises:
        NotRaised: nothing was raised, or another error than the case is about.
    """
    try:
        with _at_most(LIMIT):
            outcome = case.fail()
            error = asyncio.run(outcome) if iscoroutine(outcome) else outcome
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # gevent's Timeout is no Exception
        error = raised
    if not isinstance(error, BaseException):
        raise NotRaised("it raised nothing")
    if type(error).__name__ != case.error:
        raise NotRaised(f"it raised {type(error).__name__}: {error}"[:160])
    return error


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stuck(*_: object) -> None:
        raise _Stuck(f"still at work after {seconds} s")

    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
